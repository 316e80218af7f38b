//! TOML with places: every value knows where it stands, every table which keys were asked for.

use crate::types::UnknownName;
use crate::words::given;
use std::cell::RefCell;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    pub file: String,
    /// Counted from 1, the column in characters.
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for FileError {}

/// A sentence about a place, counted in bytes from the start of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub at: usize,
    pub message: String,
}

impl Complaint {
    pub fn new(at: usize, message: impl Into<String>) -> Complaint {
        Complaint { at, message: message.into() }
    }

    pub fn in_file(self, file: &str, text: &str) -> FileError {
        let mut end = self.at.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        FileError {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: self.message,
        }
    }
}

pub type Read<T> = Result<T, Complaint>;

/// The tables of a text.
pub fn parse(text: &str) -> Read<Spanned<DeTable<'_>>> {
    DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let first_line = error.message().lines().map(str::trim).filter(|line| !line.is_empty());
        let told = first_line.collect::<Vec<_>>().join(", ");
        Complaint::new(at, format!("this is not TOML: {told}"))
    })
}

/// A table that is read key by key.
pub struct Table<'t> {
    table: &'t DeTable<'t>,
    pub at: usize,
    /// "a unit": for sentences.
    pub what: &'static str,
    asked: RefCell<Vec<&'static str>>,
}

/// A value, and its key for sentences.
#[derive(Clone, Copy)]
pub struct Value<'t> {
    pub at: usize,
    key: &'t str,
    value: &'t DeValue<'t>,
}

impl<'t> Table<'t> {
    pub fn new(table: &'t DeTable<'t>, at: usize, what: &'static str) -> Table<'t> {
        Table { table, at, what, asked: RefCell::default() }
    }

    pub fn get(&self, key: &'static str) -> Option<Value<'t>> {
        self.asked.borrow_mut().push(key);
        let (key, value) = self.table.get_key_value(key)?;
        Some(Value { at: value.span().start, key: key.get_ref(), value: value.get_ref() })
    }

    pub fn require(&self, key: &'static str) -> Read<Value<'t>> {
        self.get(key).ok_or_else(|| Complaint::new(self.at, format!("{} needs `{key}`", self.what)))
    }

    pub fn string(&self, key: &'static str) -> Read<Option<String>> {
        self.get(key).map(|value| value.string()).transpose()
    }

    /// A whole number from `least` to `most`.
    pub fn count(&self, key: &'static str, least: usize, most: usize) -> Read<Option<usize>> {
        self.get(key).map(|value| value.count(least, most)).transpose()
    }

    pub fn boolean(&self, key: &'static str) -> Read<Option<bool>> {
        self.get(key).map(|value| value.boolean()).transpose()
    }

    /// A number of at least 0, or above 0, and at most `most`.
    pub fn number(&self, key: &'static str, zero: bool, most: f64) -> Read<Option<f64>> {
        self.get(key).map(|value| value.number(zero, most)).transpose()
    }

    /// The tables of an array: `[[unit.link]]`, or `link = [{ .. }]`.
    pub fn tables(&self, key: &'static str, what: &'static str) -> Read<Vec<Table<'t>>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Some(items) = value.value.as_array() else {
            return Err(value.wrong(&format!("a list of tables: write [[{key}]]")));
        };
        let table = |item: &'t Spanned<DeValue<'t>>| {
            let at = item.span().start;
            let table = item.get_ref().as_table();
            let wrong = || Complaint::new(at, format!("`{}` is a list of tables, and this is none", value.key));
            table.map(|table| Table::new(table, at, what)).ok_or_else(wrong)
        };
        items.iter().map(table).collect()
    }

    pub fn table(&self, key: &'static str, what: &'static str) -> Read<Option<Table<'t>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(table) = value.value.as_table() else { return Err(value.wrong(&format!("a table: write [{key}]"))) };
        Ok(Some(Table::new(table, value.at, what)))
    }

    /// Complains of two keys that say the same.
    pub fn not_both(&self, one: &'static str, other: &'static str) -> Read<()> {
        match (self.table.contains_key(one), self.table.get_key_value(other)) {
            (true, Some((key, _))) => {
                let told = format!("`{one}` and `{other}` say the same: leave one of them out");
                Err(Complaint::new(key.span().start, told))
            }
            _ => Ok(()),
        }
    }

    /// Complains of a key that nobody asked for.
    pub fn finish(self) -> Read<()> {
        let asked = self.asked.into_inner();
        let unknown = self.table.iter().filter(|(key, _)| !asked.contains(&key.get_ref().as_ref()));
        let Some((key, _)) = unknown.min_by_key(|(key, _)| key.span().start) else { return Ok(()) };
        let given = crate::topology::outline::start_of(key.get_ref());
        let told = UnknownName::new("key", given, asked.into_iter()).to_string();
        Err(Complaint::new(key.span().start, format!("{told} ({} has no such key)", self.what)))
    }
}

impl<'t> Value<'t> {
    pub fn wrong(&self, wanted: &str) -> Complaint {
        let kind = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Complaint::new(self.at, format!("`{}` is {kind}, and must be {wanted}", self.key))
    }

    pub fn string(&self) -> Read<String> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.wrong("a string"))
    }

    pub fn boolean(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub fn is_list(&self) -> bool {
        self.value.is_array()
    }

    fn items(&self) -> Read<impl Iterator<Item = Value<'t>>> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let key = self.key;
        Ok(items.iter().map(move |item| Value { at: item.span().start, key, value: item.get_ref() }))
    }

    pub fn strings(&self) -> Read<Vec<String>> {
        self.items()?.map(|item| item.string()).collect()
    }

    pub fn counts(&self, most: usize) -> Read<Vec<usize>> {
        self.items()?.map(|item| item.count(0, most)).collect()
    }

    pub fn count(&self, least: usize, most: usize) -> Read<usize> {
        let DeValue::Integer(digits) = self.value else { return Err(self.wrong("a whole number")) };
        let value = i128::from_str_radix(digits.as_str(), digits.radix()).ok();
        match value.and_then(|value| usize::try_from(value).ok()).filter(|value| (least..=most).contains(value)) {
            Some(value) => Ok(value),
            None => {
                let given = crate::topology::outline::start_of(digits.as_str());
                Err(Complaint::new(self.at, format!("`{}` is {given}, and must be from {least} to {most}", self.key)))
            }
        }
    }

    pub fn number(&self, zero: bool, most: f64) -> Read<f64> {
        let value = match self.value {
            DeValue::Integer(digits) => {
                i128::from_str_radix(digits.as_str(), digits.radix()).map_or(f64::INFINITY, |value| value as f64)
            }
            DeValue::Float(digits) => digits.as_str().parse().unwrap_or(f64::NAN),
            _ => return Err(self.wrong("a number")),
        };
        if value <= most && (value > 0.0 || (zero && value == 0.0)) {
            // Minus zero is zero.
            return Ok(value + 0.0);
        }
        let least = if zero { "0 or more" } else { "more than 0" };
        let (value, most) = (given(value), given(most));
        Err(Complaint::new(self.at, format!("`{}` is {value}, and must be {least} and at most {most}", self.key)))
    }
}
