//! The table that users of nccl-tests read at once: `#` before everything that is no result, the same columns in the
//! same order, then ours.

use super::row::{Case, Row};
use std::io::{self, Write};
use unisono::DType;

/// What was run and the names of the columns.
pub fn header(out: &mut impl Write, case: &Case) -> io::Result<()> {
    let mut words = vec![format!("unisono {} {}", env!("CARGO_PKG_VERSION"), case.collective)];
    words.push(format!("{} rank{} over {}", case.ranks, if case.ranks == 1 { "" } else { "s" }, case.transport));
    words.push(if case.in_place { "in place" } else { "out of place" }.to_owned());
    let asked = [(case.registered, "registered buffers"), (case.dirty, "inputs rewritten before every call")];
    words.extend(asked.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| (*word).to_owned()));
    writeln!(out, "# {}", words.join(", "))?;
    writeln!(out, "#")?;
    line(
        out,
        "#",
        ["size", "count", "type", "redop", "algorithm", "time", "algbw", "busbw", "p10", "p99", "predicted", "#wrong"],
    )?;
    line(out, "#", ["(B)", "(elements)", "", "", "", "(us)", "(GB/s)", "(GB/s)", "(us)", "(us)", "(us)", ""])
}

pub fn row(out: &mut impl Write, row: &Row) -> io::Result<()> {
    let dtype = row.dtype.and_then(|name| name.parse::<DType>().ok());
    let count = dtype.map_or("-".to_owned(), |dtype| (row.bytes / dtype.size() as u64).to_string());
    let optional = |number: Option<f64>| number.map_or("-".to_owned(), significant);
    line(
        out,
        "",
        [
            &row.bytes.to_string(),
            &count,
            row.dtype.unwrap_or("-"),
            row.op.unwrap_or("none"),
            &row.algorithm,
            &significant(row.median_us),
            &optional(row.algorithm_bandwidth_gb_per_s),
            &optional(row.bus_bandwidth_gb_per_s),
            &significant(row.p10_us),
            &significant(row.p99_us),
            &optional(row.predicted_us),
            &row.errors.to_string(),
        ],
    )
}

/// The two lines with which nccl-tests ends.
pub fn footer(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let wrong: u64 = rows.iter().map(|row| row.errors).sum();
    writeln!(out, "# Out of bounds values : {wrong} {}", if wrong == 0 { "OK" } else { "FAILED" })?;
    let bandwidths: Vec<f64> = rows.iter().filter_map(|row| row.bus_bandwidth_gb_per_s).collect();
    if bandwidths.is_empty() {
        return Ok(());
    }
    let average = bandwidths.iter().sum::<f64>() / bandwidths.len() as f64;
    writeln!(out, "# Avg bus bandwidth    : {}", significant(average))
}

fn line(out: &mut impl Write, start: &str, columns: [&str; 12]) -> io::Result<()> {
    const WIDTHS: [usize; 12] = [12, 12, 9, 11, 19, 11, 9, 9, 11, 11, 11, 8];
    write!(out, "{start}")?;
    for (index, (text, width)) in columns.iter().zip(WIDTHS).enumerate() {
        let width = if index == 0 { width - start.len() } else { width };
        write!(out, " {text:>width$}")?;
    }
    writeln!(out)
}

/// Four digits that count, and no exponents: a table of 0.05 GB/s and of 500 us.
fn significant(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        _ => 4,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::example;
    use super::*;
    use unisono::Collective;

    #[test]
    fn columns_stand_below_their_names() {
        let mut out = Vec::new();
        let case = Case {
            collective: Collective::AllReduce,
            ranks: 4,
            transport: "shm".to_owned(),
            dtype: DType::F32,
            op: "sum",
            in_place: false,
            registered: false,
            dirty: true,
        };
        header(&mut out, &case).expect("memory");
        row(&mut out, &example(Collective::AllReduce)).expect("memory");
        row(&mut out, &example(Collective::Barrier)).expect("memory");
        let text = String::from_utf8(out).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            format!(
                "# unisono {} all_reduce, 4 ranks over shm, out of place, inputs rewritten before every call",
                env!("CARGO_PKG_VERSION")
            )
        );
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(lines[4]),
            ["1000000", "250000", "f32", "sum", "ring", "250.0", "4.000", "6.000", "240.0", "300.5", "222.2", "0"]
        );
        assert_eq!(words(lines[5])[1..5], ["-", "-", "none", "ring"]);
        // The end of every name is the end of its column.
        let ends = |line: &str| {
            let bytes = line.as_bytes();
            (0..bytes.len())
                .filter(|i| bytes[*i] != b' ' && bytes.get(i + 1).is_none_or(|next| *next == b' '))
                .skip(usize::from(line.starts_with('#')))
                .collect::<Vec<_>>()
        };
        assert_eq!(ends(lines[2]), ends(lines[4]));
    }

    #[test]
    fn the_end_says_whether_all_was_right() {
        let mut rows = [example(Collective::AllReduce), example(Collective::AllReduce)];
        rows[1].bus_bandwidth_gb_per_s = Some(8.0);
        rows[1].errors = 3;
        let mut out = Vec::new();
        footer(&mut out, &rows).expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "# Out of bounds values : 3 FAILED\n# Avg bus bandwidth    : 7.000\n"
        );
    }

    #[test]
    fn numbers_keep_four_digits() {
        let shown = [0.0, 0.01234, 1.0, 12.3456, 123.456, 123_456.7].map(significant);
        assert_eq!(shown, ["0.0000", "0.0123", "1.000", "12.35", "123.5", "123457"]);
    }
}
