//! Whether another order of the ranks would be faster.

use super::{Chooser, Machine, Question};
use crate::select::offers::Offers;
use crate::select::report::Advice;
use crate::topology::placement::{Placement, in_runs, order};
use std::sync::Arc;

/// A smaller gain is not worth another order.
const LEAST_GAIN: f64 = 1e-3;

impl Machine<'_> {
    /// The order of the ranks in which the choice, by the rule of [`Machine::prove`], takes least time, if that is less than
    /// `time_us`.
    pub fn advise(&self, question: Question, time_us: f64) -> Option<Advice> {
        self.advise_among(question, time_us, |question| self.offers(question))
    }

    /// The same where there is nothing to choose from but these offers.
    pub(super) fn advise_among(
        &self,
        question: Question,
        time_us: f64,
        offers: impl Fn(Question) -> Arc<Offers>,
    ) -> Option<Advice> {
        if question.layout.domains(self.ranks) < 2 {
            return None;
        }
        let priced = [Placement::Blocked, Placement::Interleaved].into_iter().filter_map(|goal| {
            let layout = goal.layout(self.topology).ok().filter(|layout| *layout != question.layout)?;
            let Chooser { rates, proofs, .. } = &self.chooser;
            let other = offers(Question { layout, ..question });
            let (chosen, price) = other.chosen(question.bytes, rates, proofs)?;
            // Not where only what is proved in time makes the difference.
            let cheapest_ns = |offers: &Offers| Some(offers.by_price(question.bytes, rates).first()?.1.1.total_ns());
            if cheapest_ns(&other)? >= cheapest_ns(&offers(question))? {
                return None;
            }
            Some((goal, chosen, price.total_ns() / 1e3))
        });
        let (goal, chosen, least_us) = priced.min_by(|a, b| a.2.total_cmp(&b.2))?;
        (least_us < time_us * (1.0 - LEAST_GAIN)).then(|| Advice {
            placement: goal.name().to_owned(),
            chosen: chosen.to_owned(),
            time_us: least_us,
            gain_us: time_us - least_us,
            gain: 1.0 - least_us / time_us,
            order: in_runs(&order(question.layout, self.ranks, &goal)),
        })
    }
}
