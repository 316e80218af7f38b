//! Sizes in bytes as people write them: `8`, `64KiB`, `1MiB`, `1GiB`. The command line, environment variables and files of rules read
//! them alike.
//!
//! ```
//! use unisono::size;
//!
//! assert_eq!(size::parse("64KiB"), Ok(65_536));
//! assert_eq!(size::format(65_536), "64KiB");
//! assert!(size::parse("64K").unwrap_err().contains("is not a size"));
//! ```

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// Reads a whole number of bytes, with one of the binary units B, KiB, MiB, GiB and TiB, in letters of any case, or none.
///
/// # Errors
/// Of what is no size, or more than 2^64 - 1 bytes: a sentence that says so.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits_end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let shift = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, shift)) => *shift,
        None if unit.is_empty() => 0,
        None => return Err(not_a_size(text)),
    };
    if digits.is_empty() {
        return Err(not_a_size(text));
    }
    // Digits alone fail to parse only by being too many.
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("`{text}` is more than the 2^64 - 1 bytes that a size can have"))
}

fn not_a_size(text: &str) -> String {
    format!("`{text}` is not a size: write bytes such as 8, 64KiB, 1MiB or 1GiB")
}

/// Writes a size as [`parse`] reads it, with the largest unit that leaves it whole.
pub fn format(bytes: u64) -> String {
    match UNITS.iter().find(|(_, shift)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift) {
        Some((unit, shift)) if *shift > 0 => format!("{}{unit}", bytes >> shift),
        _ => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("8", 8),
            ("8B", 8),
            ("64KiB", 65_536),
            ("64kib", 65_536),
            ("1MiB", 1 << 20),
            ("1GiB", 1 << 30),
            ("3TiB", 3 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_with_examples() {
        for text in ["", "KiB", "64K", "64KB", "1.5MiB", "-8", "+8", "8 MiB", "8MiBs", "٣", "0x10"] {
            let told = parse(text).expect_err(text);
            assert_eq!(told, format!("`{text}` is not a size: write bytes such as 8, 64KiB, 1MiB or 1GiB"));
        }
        for text in ["18446744073709551616", "16777216TiB", "99999999999999999999999GiB"] {
            assert!(parse(text).expect_err(text).contains("is more than the 2^64 - 1 bytes"));
        }
    }

    #[test]
    fn sizes_are_written_with_the_largest_whole_unit() {
        for (bytes, text) in
            [(0, "0"), (8, "8"), (1023, "1023"), (1 << 10, "1KiB"), (3 << 19, "1536KiB"), (1 << 30, "1GiB")]
        {
            assert_eq!(format(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in any::<u64>(), shift in 0..64) {
            prop_assert_eq!(parse(&format(bytes >> shift << (shift / 2))), Ok(bytes >> shift << (shift / 2)));
        }

        #[test]
        fn no_text_is_a_panic(text in ".{0,30}") {
            let _ = parse(&text);
        }
    }
}
