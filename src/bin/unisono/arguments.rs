//! What all subcommands share: how arguments are parsed, and how a wrong one is told in one sentence.

use crate::failure::{BAD_ARGUMENTS, Failure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::error::Error;
use unisono::bootstrap::MAX_RANKS;

/// A number of ranks.
pub fn ranks(text: &str) -> Result<usize, String> {
    match text.parse::<u32>() {
        Ok(0) => Err("a job has at least 1 rank".to_owned()),
        Ok(ranks) if ranks as usize > MAX_RANKS => Err(format!("a job has at most {MAX_RANKS} ranks")),
        Ok(ranks) => Ok(ranks as usize),
        Err(_) => Err(format!("`{text}` is not a number of ranks: write one such as 4")),
    }
}

/// A whole number of at least 0.
pub fn whole<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number of 0 or more that fits: write one such as 4"))
}

/// What the parser has to say: help and version as they are, an error as one sentence.
pub fn explain(error: &clap::Error) -> Failure {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => Failure { status: 0, message: None },
            Err(error) => error.into(),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Where stderr can't be written there is nobody to tell.
            let _ = error.print();
            Failure { status: BAD_ARGUMENTS, message: None }
        }
        ErrorKind::ValueValidation => Failure::new(BAD_ARGUMENTS, rejected_value(error)),
        _ => Failure::new(BAD_ARGUMENTS, one_sentence(&error.to_string())),
    }
}

/// Our own parsers say all but which argument it was.
fn rejected_value(error: &clap::Error) -> String {
    match (error.get(ContextKind::InvalidArg), error.source()) {
        (Some(ContextValue::String(argument)), Some(source)) => format!("{argument}: {source}"),
        _ => one_sentence(&error.to_string()),
    }
}

/// Clap's paragraphs up to the usage, as one line.
fn one_sentence(text: &str) -> String {
    let told =
        text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let mut sentence = String::new();
    for line in told.filter(|line| !line.is_empty()) {
        let line = line.trim_start_matches("error: ");
        match line.strip_prefix("tip: ") {
            // What looks like an option was meant as one.
            Some(tip) if tip.starts_with("to pass ") => {}
            Some(tip) => sentence.push_str(&format!("; {tip}")),
            None if sentence.is_empty() => sentence.push_str(line),
            None => sentence.push_str(&format!(" {line}")),
        }
    }
    sentence
}
