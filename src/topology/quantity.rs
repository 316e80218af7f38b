//! A number and its birthplace.

use crate::types::UnknownName;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

/// How a number was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The vendor's own figure.
    Published,
    /// Somebody ran it.
    Measured,
    /// Chosen so that a model agrees with measurements.
    Fitted,
    /// Arithmetic on other figures.
    Derived,
    /// Nobody published it: ours until somebody does.
    Assumed,
    /// The user's word.
    Given,
}

impl Origin {
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Published => "published",
            Origin::Measured => "measured",
            Origin::Fitted => "fitted",
            Origin::Derived => "derived",
            Origin::Assumed => "assumed",
            Origin::Given => "given",
        }
    }
}

impl Origin {
    pub const ALL: [Origin; 6] =
        [Origin::Published, Origin::Measured, Origin::Fitted, Origin::Derived, Origin::Assumed, Origin::Given];
}

impl std::str::FromStr for Origin {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Origin, UnknownName> {
        let found = Origin::ALL.into_iter().find(|origin| origin.name() == text);
        found.ok_or_else(|| UnknownName::new("origin", text, Origin::ALL.iter().map(|origin| origin.name())))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A value in the unit that its place says, with how it was obtained and from where.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantity {
    pub value: f64,
    pub origin: Origin,
    /// A document, a table, the formula, or why it was assumed.
    pub source: Cow<'static, str>,
}

impl Quantity {
    pub const fn new(value: f64, origin: Origin, source: &'static str) -> Quantity {
        Quantity { value, origin, source: Cow::Borrowed(source) }
    }
}

/// A quantity by the name under which people know it: "NVLink per GPU and direction".
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Constant {
    pub name: Cow<'static, str>,
    /// Of the value: "GB/s", "us".
    pub unit: Cow<'static, str>,
    #[serde(flatten)]
    pub quantity: Quantity,
}
