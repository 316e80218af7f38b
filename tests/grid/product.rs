//! Which cases are run: short by default, all with `UNISONO_GRID=full`, or those that a text matches.

use crate::case::{Case, Form, SELECTION, problem};
use unisono::algorithm::registry;
use unisono::{Collective, DType, ReduceOp, TransportKind};

pub const RANKS: [usize; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13];
const COUNTS: [u64; 7] = [0, 1, 2, 7, 64, 1000, 65537];

pub enum Selection {
    Short,
    Full,
    /// Of the full product, the cases whose first fields are these.
    Matching(Vec<String>),
    One(Case),
}

impl Selection {
    pub fn from_environment() -> Selection {
        match std::env::var(SELECTION).ok().as_deref() {
            None | Some("") => Selection::Short,
            Some("full") => Selection::Full,
            Some(text) if text.split(',').count() < 9 || text.contains('*') => {
                Selection::Matching(text.split(',').map(str::to_owned).collect())
            }
            Some(text) => Selection::One(text.parse().unwrap_or_else(|error| panic!("{SELECTION}={text}: {error}"))),
        }
    }

    /// Whether a world may have hours of work.
    pub fn is_long(&self) -> bool {
        matches!(self, Selection::Full | Selection::Matching(_))
    }

    /// The cases of one world, in the order in which every rank runs them.
    pub fn cases(&self, transport: TransportKind, ranks: usize) -> Vec<Case> {
        match self {
            Selection::Short => short(transport, ranks),
            Selection::Full => full(transport, ranks),
            Selection::Matching(fields) => {
                let mut cases = full(transport, ranks);
                cases.retain(|case| matches(&case.to_string(), fields));
                cases
            }
            Selection::One(case) if (case.transport, case.ranks) == (transport, ranks) => vec![case.clone()],
            Selection::One(_) => Vec::new(),
        }
    }
}

fn matches(case: &str, fields: &[String]) -> bool {
    case.split(',').zip(fields).all(|(have, want)| want == "*" || want == have)
}

/// The algorithms that answer a collective; send and receive need none.
fn algorithms(collective: Collective, ranks: usize) -> Vec<Option<&'static str>> {
    if collective == Collective::SendRecv {
        return vec![None];
    }
    let question = problem(collective, ranks, 0, 1);
    registry().iter().filter(|one| one.fits(&question).is_ok()).map(|one| Some(one.name())).collect()
}

fn counts(collective: Collective) -> &'static [u64] {
    if collective == Collective::Barrier { &COUNTS[..1] } else { &COUNTS }
}

/// Every collective, algorithm and count on f32 and bf16 by turns, roots, operations and forms going round; and every type
/// with every operation once.
fn short(transport: TransportKind, ranks: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    // Worlds begin their turns at different places, so that together they pair more than each alone.
    let salt = ranks + transport as usize;
    for collective in Collective::ALL {
        let mut turn = 0;
        for algorithm in algorithms(collective, ranks) {
            for &count in counts(collective) {
                let op = collective.reduces().then(|| ReduceOp::ALL[(turn + salt) % ReduceOp::ALL.len()]);
                let dtype = [DType::F32, DType::Bf16][(turn + salt) % 2];
                let form = Form::ALL[(turn / 2 + salt) % 2];
                let form = if form.exists_for(collective) { form } else { Form::Apart };
                let root = turn % ranks;
                cases.push(Case { transport, ranks, collective, algorithm, count, dtype, op, root, form });
                turn += 1;
            }
        }
    }
    cases.extend(types_by_ops(transport, ranks, salt));
    cases
}

fn types_by_ops(transport: TransportKind, ranks: usize, salt: usize) -> Vec<Case> {
    let reducing: Vec<Collective> = Collective::ALL.into_iter().filter(|one| one.reduces()).collect();
    let ways: Vec<_> = reducing
        .iter()
        .flat_map(|&collective| algorithms(collective, ranks).into_iter().map(move |algorithm| (collective, algorithm)))
        .collect();
    let pairs = DType::ALL.into_iter().flat_map(|dtype| ReduceOp::ALL.map(|op| (dtype, op)));
    pairs
        .enumerate()
        .map(|(turn, (dtype, op))| {
            let (collective, algorithm) = ways[(turn + 7 * salt) % ways.len()];
            let count = [7, 64, 1000][(turn + salt) % 3];
            let (root, form) = (turn % ranks, Form::ALL[turn % 2]);
            Case { transport, ranks, collective, algorithm, count, dtype, op: Some(op), root, form }
        })
        .collect()
}

/// Every collective, algorithm, count, type, operation and form; only roots go round.
fn full(transport: TransportKind, ranks: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for collective in Collective::ALL {
        let ops: Vec<Option<ReduceOp>> =
            if collective.reduces() { ReduceOp::ALL.map(Some).to_vec() } else { vec![None] };
        for algorithm in algorithms(collective, ranks) {
            for &count in counts(collective) {
                for dtype in DType::ALL {
                    for &op in &ops {
                        for form in Form::ALL.into_iter().filter(|form| form.exists_for(collective)) {
                            let root = cases.len() % ranks;
                            cases.push(Case { transport, ranks, collective, algorithm, count, dtype, op, root, form });
                        }
                    }
                }
            }
        }
    }
    cases
}

#[test]
fn the_short_product_leaves_nothing_out() {
    for ranks in RANKS {
        let cases = short(TransportKind::Memory, ranks);
        for collective in Collective::ALL {
            let of =
                |holds: &dyn Fn(&Case) -> bool| cases.iter().any(|case| case.collective == collective && holds(case));
            for algorithm in algorithms(collective, ranks) {
                for &count in counts(collective) {
                    assert!(
                        of(&|case| case.algorithm == algorithm && case.count == count),
                        "{collective} {algorithm:?}"
                    );
                }
            }
            if collective.has_root() {
                (0..ranks)
                    .for_each(|root| assert!(of(&|case| case.root == root), "{collective}, {ranks} ranks: {root}"));
            }
            for form in Form::ALL.into_iter().filter(|form| form.exists_for(collective)) {
                assert!(of(&|case| case.form == form), "{collective} {form:?}");
            }
        }
        for (dtype, op) in DType::ALL.into_iter().flat_map(|dtype| ReduceOp::ALL.map(|op| (dtype, op))) {
            assert!(cases.iter().any(|case| (case.dtype, case.op) == (dtype, Some(op))), "{dtype} {op}");
        }
    }
}

#[test]
fn a_case_is_read_back_from_its_text() {
    for case in short(TransportKind::Shm, 5) {
        assert_eq!(case.to_string().parse(), Ok(case));
    }
    assert!("shm,5,all_reduce,rong,1,f32,sum,0,apart".parse::<Case>().unwrap_err().contains("did you mean `ring`?"));
}
