//! `unisono plan`: what a collective costs on a machine that need not be there, and why.

mod row;

use crate::bounded;
use crate::failure::{BAD_ARGUMENTS, Failure};
use crate::machine::Question;
use crate::output::Output;
use row::Asked;
use std::path::Path;
use unisono::nccl;
use unisono::select::Context;
use unisono::select::machine::Machine;
use unisono::select::rules::Rules;
use unisono::topology::placement::Placement;

/// Say what a collective costs on a machine, which algorithm wins, why, and how far it is from the best possible
///
/// Times of engine unisono are those of our plans on links at the rates that are listed, from the first byte to the last; engine
/// nccl tells what nccl-tests would show.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    question: Question,

    /// unisono: our plans; nccl: what NCCL takes with each of its algorithms and protocols, and which it would pick
    #[arg(long, default_value = "unisono", value_name = "NAME")]
    engine: Engine,

    /// Of engine nccl, as 2.29; the newest known unless given, and instead of a newer one
    #[arg(long, value_name = "V")]
    nccl_version: Option<String>,

    /// Of engine nccl: without in-switch reduction, as NCCL_NVLS_ENABLE=0
    #[arg(long)]
    no_nvls: bool,

    /// How the ranks lie in the domains: blocked (consecutive ranks share one), interleaved (rank after rank to the next), or the
    /// domain of each rank with commas; says what another order would gain
    #[arg(long, default_value = "blocked", value_name = "ORDER")]
    placement: Placement,

    /// A CSV file of rules that go before prices: see unisono::select::rules
    #[arg(long, value_name = "FILE")]
    rules: Option<String>,

    /// One JSON object for each size, instead of the text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Unisono,
    Nccl,
}

impl std::str::FromStr for Engine {
    type Err = unisono::UnknownName;

    fn from_str(text: &str) -> Result<Engine, unisono::UnknownName> {
        match text {
            "unisono" => Ok(Engine::Unisono),
            "nccl" => Ok(Engine::Nccl),
            _ => Err(unisono::UnknownName::new("engine", text, ["unisono", "nccl"].into_iter())),
        }
    }
}

impl Arguments {
    pub fn run(self) -> Result<u8, Failure> {
        let sizes = self.question.sizes()?;
        let topology = self.question.machine.topology()?;
        let machine = Machine::new(&topology);
        let settings = self.settings()?;
        let rules = self.rules.as_deref().map(read_rules).transpose()?;
        let host = self.question.machine.host()?;
        let host = host
            .filter(|_| self.engine == Engine::Unisono)
            .map(|constants| Context::of_processes(constants).with_rules(rules.clone().unwrap_or_default()));
        let mut out = Output::stdout();
        for bytes in sizes {
            let asked = Asked {
                machine: &machine,
                collective: self.question.collective,
                bytes,
                dtype: self.question.size.dtype,
                dtype_name: self.question.size.dtype_name(self.question.collective),
                placement: &self.placement,
                rules: rules.as_ref(),
            };
            let row = match self.engine {
                Engine::Unisono => match &host {
                    Some(context) => row::hosts(context, &asked)?,
                    None => row::ours(&asked)?,
                },
                Engine::Nccl => row::nccls(&asked, &settings)?,
            };
            if self.json {
                out.json(&row)?;
            } else {
                out.text(&format!("{row}\n"))?;
            }
        }
        Ok(0)
    }

    fn settings(&self) -> Result<nccl::Settings, Failure> {
        let of_nccl_only =
            (self.no_nvls && self.engine != Engine::Nccl).then_some("--no-nvls: goes with --engine nccl only");
        let of_ours_only = (self.rules.is_some() && self.engine == Engine::Nccl)
            .then_some("--rules: NCCL follows rules of its own; leave it out, or ask engine unisono");
        if let Some(told) = of_nccl_only.or(of_ours_only) {
            return Err(Failure::new(BAD_ARGUMENTS, told));
        }
        let refused = |error: &dyn std::fmt::Display| Failure::new(BAD_ARGUMENTS, format!("--nccl-version: {error}"));
        let version = match &self.nccl_version {
            Some(_) if self.engine != Engine::Nccl => {
                return Err(refused(&"goes with --engine nccl only"));
            }
            Some(text) => text.parse().map_err(|error| refused(&error))?,
            None => nccl::Version::NEWEST,
        };
        if version != version.modelled() {
            let newest = version.modelled();
            eprintln!(
                "unisono: NCCL {version} is newer than the newest whose tuning is known, and is priced as that: {newest}"
            );
        }
        Ok(nccl::Settings { nvls: !self.no_nvls, ..nccl::Settings::new(version) })
    }
}

fn read_rules(path: &str) -> Result<Rules, Failure> {
    let text = bounded::read_text(Path::new(path), 1 << 20)
        .map_err(|error| Failure::new(BAD_ARGUMENTS, format!("cannot read the rules of {path}: {error}")))?;
    Rules::parse(path, &text).map_err(|error| Failure::new(BAD_ARGUMENTS, error.to_string()))
}
