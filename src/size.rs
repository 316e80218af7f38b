//! Sizes in bytes as people write them: `65536`, `64KiB`, `1GiB`.

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// Reads a whole number of bytes, with one of the binary units or none; None if it is no such thing, or too large.
pub fn parse(text: &str) -> Option<u64> {
    let digits_end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let shift = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, shift)) => *shift,
        None if unit.is_empty() => 0,
        None => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
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
    use super::{format, parse};

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for (bytes, text) in [(0, "0"), (7, "7"), (1000, "1000"), (3 << 10, "3KiB"), (1 << 40, "1TiB")] {
            assert_eq!((format(bytes).as_str(), parse(text)), (text, Some(bytes)));
        }
    }

    #[test]
    fn sizes_are_whole_numbers_with_a_unit_or_none() {
        for (text, bytes) in [("0", 0), ("8", 8), ("8B", 8), ("64kib", 65_536), ("3TiB", 3 << 40)] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "64K", "64KB", "1.5MiB", "-8", "+8", "8 MiB", "16777216TiB"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
