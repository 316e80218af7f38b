//! Numbers as people say them.
//!
//! ```
//! use unisono::words::{counted, figure};
//!
//! assert_eq!(counted(1, "hop"), "1 hop");
//! assert_eq!(counted(0, "switch"), "0 switches");
//! assert_eq!(figure(14.545_104_9), "14.55");
//! ```

use std::fmt::Display;

/// So many of what `noun` names: "1 rank", "2 ranks", "2 switches".
pub fn counted(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    let plural = match () {
        () if count == "1" => "",
        () if ["s", "x", "ch", "sh"].iter().any(|end| noun.ends_with(end)) => "es",
        () => "s",
    };
    format!("{count} {noun}{plural}")
}

/// Four digits that say something.
pub fn figure(value: f64) -> String {
    match value.abs() {
        magnitude if magnitude >= 1000.0 || magnitude == 0.0 => format!("{value:.0}"),
        magnitude if magnitude >= 100.0 => format!("{value:.1}"),
        magnitude if magnitude >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The same without zeros at the end: a data sheet says 900 GB/s, not 900.0.
pub fn short_figure(value: f64) -> String {
    let text = figure(value);
    if value != 0.0 && text.trim_start_matches(['-', '0', '.']).is_empty() {
        return format!("{value:.1e}");
    }
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number as somebody gave it, without three hundred zeros.
pub fn given(value: f64) -> String {
    match value.abs() {
        magnitude if magnitude.is_finite() && magnitude != 0.0 && !(1e-4..1e9).contains(&magnitude) => {
            format!("{value:e}")
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        for (count, noun, told) in [
            (0, "rank", "0 ranks"),
            (1, "rank", "1 rank"),
            (2, "rank", "2 ranks"),
            (11, "hop", "11 hops"),
            (1, "process", "1 process"),
            (3, "process", "3 processes"),
        ] {
            assert_eq!(counted(count, noun), told);
        }
    }

    #[test]
    fn numbers_are_told_as_they_were_given() {
        for (value, told) in
            [(400.0, "400"), (-1.5, "-1.5"), (1e300, "1e300"), (1e-300, "1e-300"), (0.0, "0"), (f64::INFINITY, "inf")]
        {
            assert_eq!(given(value), told);
        }
        assert_eq!(given(f64::NAN), "NaN");
    }

    #[test]
    fn figures_have_four_digits() {
        for (value, told, short) in [
            (0.0, "0", "0"),
            (0.236, "0.236", "0.236"),
            (14.545_104_924_455_723, "14.55", "14.55"),
            (450.0, "450.0", "450"),
            (0.5, "0.500", "0.5"),
            (8000.0, "8000", "8000"),
            (1234.5, "1234", "1234"),
            (0.000_05, "0.000", "5.0e-5"),
        ] {
            assert_eq!((figure(value).as_str(), short_figure(value).as_str()), (told, short));
        }
    }
}
