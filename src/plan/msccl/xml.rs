//! Elements and their attributes, with their places in the text. What XML is, the crate `quick_xml` knows; it expands nothing but the
//! five predefined entities and character references, and document types are refused.

use crate::plan::text::TextError;
use crate::types::UnknownName;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::borrow::Cow;

/// More than any element of the format has.
const MAX_ATTRIBUTES: usize = 64;
/// Of a wrong word, as many characters are shown.
const SHOWN_CHARS: usize = 40;

/// The error at a byte of the text.
pub(super) fn error(text: &str, at: usize, message: impl Into<String>) -> TextError {
    let at = (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    TextError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: message.into(),
    }
}

/// A start tag.
pub(super) struct Element<'a> {
    text: &'a str,
    pub(super) name: String,
    /// Where it begins, in bytes.
    pub(super) at: usize,
    /// Whether it ends with its start tag.
    pub(super) is_closed: bool,
    attributes: Vec<Attribute>,
}

struct Attribute {
    key: String,
    value: String,
    at: usize,
}

/// What comes next in a text, comments and the like left out.
pub(super) enum Item<'a> {
    Start(Element<'a>),
    /// The end tag of the element that was opened last and not closed.
    End,
    /// The end of the text.
    Eof,
}

pub(super) struct Items<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
}

impl<'a> Items<'a> {
    pub(super) fn new(text: &'a str) -> Items<'a> {
        Items { text, reader: Reader::from_str(text) }
    }

    /// Where the next item begins at the earliest.
    pub(super) fn position(&self) -> usize {
        self.reader.buffer_position() as usize
    }

    pub(super) fn next(&mut self) -> Result<Item<'a>, TextError> {
        loop {
            let at = self.position();
            let wrong = |at: usize, message: String| Err(error(self.text, at, message));
            let event = self.reader.read_event();
            let event =
                event.map_err(|told| error(self.text, self.reader.error_position() as usize, told.to_string()))?;
            match event {
                Event::Start(tag) => return Ok(Item::Start(Element::new(self.text, &tag, at, false)?)),
                Event::Empty(tag) => return Ok(Item::Start(Element::new(self.text, &tag, at, true)?)),
                Event::End(_) => return Ok(Item::End),
                Event::Eof => return Ok(Item::Eof),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Text(text) if text.trim().is_empty() => {}
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    let spaces = self.text[at..].len() - self.text[at..].trim_start().len();
                    return wrong(at + spaces, "text where only elements stand".to_owned());
                }
                Event::DocType(_) => return wrong(at, "a document type, which a plan does not have".to_owned()),
            }
        }
    }
}

impl<'a> Element<'a> {
    fn new(text: &'a str, tag: &BytesStart, at: usize, is_closed: bool) -> Result<Element<'a>, TextError> {
        let name = shown(tag.name().as_ref());
        let mut attributes = Vec::new();
        for attribute in tag.attributes() {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(error(text, at, format!("`{name}` has more than {MAX_ATTRIBUTES} attributes")));
            }
            // Positions inside the tag are told in the message, and not alike in all its kinds.
            let attribute = attribute.map_err(|told| error(text, at, format!("`{name}`: {told}")))?;
            let value_at = offset_in(text, &attribute.value).unwrap_or(at);
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value: Cow<str> = value.map_err(|told| error(text, value_at, told.to_string()))?;
            attributes.push(Attribute {
                key: attribute.key.as_ref().to_owned(),
                value: value.into_owned(),
                at: value_at,
            });
        }
        Ok(Element { text, name, at, is_closed, attributes })
    }

    pub(super) fn error(&self, message: impl Into<String>) -> TextError {
        error(self.text, self.at, message)
    }

    fn find(&self, key: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.key == key)
    }

    /// Where the value of an attribute begins, or the element if it has none.
    pub(super) fn at_value(&self, key: &str) -> usize {
        self.find(key).map_or(self.at, |attribute| attribute.at)
    }

    /// An error at the value of an attribute, or at the element if it has none.
    pub(super) fn error_at(&self, key: &str, message: impl Into<String>) -> TextError {
        error(self.text, self.at_value(key), message)
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.find(key).map(|attribute| attribute.value.as_str())
    }

    pub(super) fn required(&self, key: &str) -> Result<&str, TextError> {
        self.value(key).ok_or_else(|| self.error(format!("`{}` without `{key}`", self.name)))
    }

    /// A whole number, if it is given.
    pub(super) fn optional_number(&self, key: &str) -> Result<Option<i64>, TextError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(self.error_at(key, format!("`{key}` is `{}`, not a whole number", shown(value)))),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<i64, TextError> {
        self.required(key)?;
        Ok(self.optional_number(key)?.expect("it is there"))
    }

    /// A number from 0 to `most`.
    pub(super) fn bounded(&self, key: &str, most: u32) -> Result<u32, TextError> {
        let number = self.number(key)?;
        match u32::try_from(number) {
            Ok(number) if number <= most => Ok(number),
            _ => Err(self.error_at(key, format!("`{key}` is {number}, and goes from 0 to {most}"))),
        }
    }

    /// 0 or 1; absent is 0.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, TextError> {
        match self.optional_number(key)? {
            None => Ok(None),
            Some(number @ (0 | 1)) => Ok(Some(number == 1)),
            Some(number) => Err(self.error_at(key, format!("`{key}` is {number}, neither 0 nor 1"))),
        }
    }

    /// The value that has this name.
    pub(super) fn named<T: Copy>(
        &self,
        key: &'static str,
        known: impl Iterator<Item = (&'static str, T)> + Clone,
    ) -> Result<T, TextError> {
        let value = self.required(key)?;
        match known.clone().find(|(name, _)| *name == value) {
            Some((_, found)) => Ok(found),
            None => {
                let told = UnknownName::new(key, &shown(value), known.map(|(name, _)| name));
                Err(self.error_at(key, told.to_string()))
            }
        }
    }
}

fn shown(word: &str) -> String {
    word.chars().take(SHOWN_CHARS).collect()
}

/// Where a part of a text begins in it; `None` if it is a copy.
fn offset_in(text: &str, part: &str) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    (offset + part.len() <= text.len()).then_some(offset)
}
