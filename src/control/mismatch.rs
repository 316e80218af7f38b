//! The sentence for ranks that made different calls: rank -> call in groups, smallest group first.

use super::PeerLine;
#[cfg(test)]
use super::recorder::TOLD;
use super::recorder::told_before;
use crate::error::{Error, ErrorKind};
use crate::types::Rank;

/// Ranks as "0-3,7".
pub fn ranges(ranks: &[Rank]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < ranks.len() {
        let mut end = at;
        while end + 1 < ranks.len() && ranks[end + 1] == ranks[end] + 1 {
            end += 1;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&ranks[at].to_string());
        if end > at {
            text.push_str(&format!("-{}", ranks[end]));
        }
        at = end + 1;
    }
    text
}

/// "rank 3" or "ranks 0-2".
pub fn named(ranks: &[Rank]) -> String {
    match ranks {
        [one] => format!("rank {one}"),
        _ => format!("ranks {}", ranges(ranks)),
    }
}

/// The error for different calls at a sequence number, or shortly before it: the earliest of them is the cause of the rest.
/// None as long as all known calls are the same.
pub fn describe_mismatch(sequence: u64, lines: &[PeerLine]) -> Option<Error> {
    told_before(sequence).find_map(|one| describe_at(one, lines))
}

fn describe_at(sequence: u64, lines: &[PeerLine]) -> Option<Error> {
    let mut groups: Vec<(u32, String, Vec<Rank>)> = Vec::new();
    let mut absent = Vec::new();
    for (rank, peer) in lines.iter().enumerate() {
        let call = peer.line.as_ref().and_then(|line| line.call(sequence));
        let Some(call) = call else {
            absent.push(rank);
            continue;
        };
        match groups.iter_mut().find(|(fingerprint, ..)| *fingerprint == call.fingerprint) {
            Some((.., ranks)) => ranks.push(rank),
            None => groups.push((call.fingerprint, call.text.clone(), vec![rank])),
        }
    }
    if groups.len() < 2 {
        return None;
    }
    groups.sort_by_key(|(.., ranks)| (ranks.len(), ranks[0]));
    let mut text: Vec<String> = groups.iter().map(|(_, call, ranks)| format!("{}: {call}", named(ranks))).collect();
    if !absent.is_empty() {
        text.push(format!("{}: not there yet", named(&absent)));
    }
    let culprit = groups[0].2[0];
    Some(
        Error::new(
            ErrorKind::Mismatch,
            format!("ranks made different calls as number {sequence}: {}", text.join("; ")),
        )
        .with_peer(culprit)
        .remedy("make the same calls in the same order, with the same arguments, on every rank"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::frame::{EnteredCall, Line};
    use super::*;

    fn at(fingerprint: u32, text: &str) -> PeerLine {
        let call = EnteredCall { sequence: 5, fingerprint, text: text.to_owned() };
        let line = Line { entered: 5, finished: 4, calls: vec![call], ..Line::default() };
        PeerLine { line: Some(line.into()), ..PeerLine::default() }
    }

    #[test]
    fn groups_are_listed_smallest_first() {
        let all = |text| at(1, text);
        let mut lines =
            vec![all("all_reduce f32 x 8"), all("all_reduce f32 x 8"), at(2, "barrier"), all("all_reduce f32 x 8")];
        lines.push(PeerLine::default());
        let error = describe_mismatch(5, &lines).unwrap();
        assert_eq!(
            error.message(),
            "ranks made different calls as number 5: rank 2: barrier; ranks 0-1,3: all_reduce f32 x 8; rank 4: not there yet"
        );
        assert_eq!(error.peer(), Some(2));
        assert!(describe_mismatch(5, &lines[..2]).is_none());
        assert_eq!(describe_mismatch(6, &lines).unwrap().message(), error.message(), "noticed one call later");
        assert!(describe_mismatch(5 + TOLD, &lines).is_none());
    }
}
