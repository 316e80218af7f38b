//! The job that this process's environment describes, and our own variables in it.

use super::{Findings, Section};
use serde::Serialize;
use unisono::Builder;
use unisono::bootstrap::{Job, KNOWN_VARIABLES, unknown_variables};

#[derive(Serialize)]
pub struct Environment {
    /// Variables of this library that are set.
    set: Vec<Variable>,
    /// Variables that look like ours and are not.
    unknown: Vec<Unknown>,
    /// What started this process, its rank and the ranks of its job. None where the environment contradicts itself.
    launcher: Option<&'static str>,
    rank: Option<usize>,
    ranks: Option<usize>,
    #[serde(skip)]
    refused: Option<unisono::Error>,
}

#[derive(Serialize)]
struct Variable {
    name: &'static str,
    /// None where it is secret or not UTF-8.
    value: Option<String>,
    meaning: &'static str,
}

#[derive(Serialize)]
struct Unknown {
    name: String,
    nearest: Option<&'static str>,
}

impl Environment {
    pub fn look() -> Environment {
        let lookup = |name: &str| std::env::var(name).ok();
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Environment::read(&lookup, names)
    }

    fn read(lookup: &dyn Fn(&str) -> Option<String>, names: impl Iterator<Item = String>) -> Environment {
        let set = KNOWN_VARIABLES.iter().filter_map(|(name, meaning)| {
            let value = lookup(name)?;
            Some(Variable { name, value: (*name != "UNISONO_SECRET").then_some(value), meaning })
        });
        let (job, refused) = match Job::from_environment(lookup) {
            Ok(job) => (Some(job), Builder::check_variables(lookup).err()),
            Err(error) => (None, Some(error)),
        };
        let mut unknown: Vec<Unknown> =
            unknown_variables(names).into_iter().map(|(name, nearest)| Unknown { name, nearest }).collect();
        unknown.sort_by(|a, b| a.name.cmp(&b.name));
        Environment {
            set: set.collect(),
            unknown,
            launcher: job.as_ref().map(|job| job.launcher.name()),
            rank: job.as_ref().map(|job| job.rank),
            ranks: job.as_ref().map(|job| job.size),
            refused,
        }
    }
}

impl Section for Environment {
    const NAME: &'static str = "environment";

    fn lines(&self) -> Vec<String> {
        let job = match (self.launcher, self.rank, self.ranks) {
            (Some(launcher), Some(rank), Some(ranks)) => format!("rank {rank} of {ranks} ({launcher})"),
            _ => "it contradicts itself".to_owned(),
        };
        let set = self.set.iter().map(|variable| {
            let value = variable.value.as_deref().unwrap_or("(not shown)");
            format!("{}={value}: {}", variable.name, variable.meaning)
        });
        std::iter::once(job).chain(set).collect()
    }

    fn judge(&self, findings: &mut Findings) {
        if let Some(error) = &self.refused {
            findings.broken(error.to_string());
        }
        for Unknown { name, nearest } in &self.unknown {
            findings.advise(match nearest {
                Some(nearest) => format!("{name} means nothing: did you mean {nearest}?"),
                None => format!("{name} means nothing: unset it, lest it be taken for a setting"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Environment, Findings) {
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let environment = Environment::read(&lookup, variables.iter().map(|(name, _)| (*name).to_owned()));
        let mut findings = Findings::default();
        environment.judge(&mut findings);
        (environment, findings)
    }

    #[test]
    fn a_secret_is_never_shown() {
        let (environment, findings) = read(&[("UNISONO_SECRET", "hush"), ("UNISONO_HOST_ID", "a")]);
        let shown = environment.lines().join("\n") + &serde_json::to_string(&environment).expect("plain data");
        assert!(!shown.contains("hush") && shown.contains("UNISONO_SECRET=(not shown)"), "{shown}");
        assert!(findings.broken.is_empty() && findings.advice.is_empty());
    }

    #[test]
    fn typing_errors_and_what_is_refused_are_found() {
        let (_, findings) = read(&[("UNISONO_SECRIT", "x"), ("RANK", "3")]);
        assert!(findings.advice[0].contains("did you mean UNISONO_SECRET?"), "{:?}", findings.advice);
        assert!(findings.broken[0].contains("RANK=3"), "{:?}", findings.broken);
        for wrong in [("UNISONO_TIMEOUT", "soon"), ("UNISONO_STRICT", "yes"), ("UNISONO_RULES", "/no/such/file")] {
            let (_, findings) = read(&[wrong]);
            assert!(findings.broken[0].contains(wrong.0), "{wrong:?}: {:?}", findings.broken);
        }
    }
}
