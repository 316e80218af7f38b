//! Network interfaces: what ranks of other hosts can reach.

use super::{Findings, Section};
use crate::os::{self, Address};
use serde::Serialize;

#[derive(Serialize)]
pub struct Network {
    interfaces: Vec<Interface>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    name: String,
    is_up: bool,
    is_loopback: bool,
    addresses: Vec<String>,
}

impl Network {
    pub fn look() -> Network {
        // A host that does not tell its interfaces is judged as one that has none.
        Network { interfaces: group(os::interfaces().unwrap_or_default()) }
    }
}

/// One entry for each interface, in the order of the kernel.
fn group(found: Vec<Address>) -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for Address { interface, is_up, is_loopback, address } in found {
        let known = interfaces.iter().position(|known| known.name == interface);
        let index = known.unwrap_or_else(|| {
            interfaces.push(Interface { name: interface, is_up, is_loopback, addresses: Vec::new() });
            interfaces.len() - 1
        });
        interfaces[index].addresses.extend(address.map(|address| address.to_string()));
    }
    interfaces
}

impl Section for Network {
    const NAME: &'static str = "network";

    fn lines(&self) -> Vec<String> {
        let line = |interface: &Interface| {
            let state = if interface.is_up { "up" } else { "down" };
            let addresses = match &interface.addresses[..] {
                [] => "no address".to_owned(),
                addresses => addresses.join(", "),
            };
            format!("{} {state}: {addresses}", interface.name)
        };
        self.interfaces.iter().map(line).collect()
    }

    fn judge(&self, findings: &mut Findings) {
        let usable = |loopback: bool| {
            move |interface: &&Interface| {
                interface.is_loopback == loopback && interface.is_up && !interface.addresses.is_empty()
            }
        };
        if !self.interfaces.iter().any(|interface| usable(true)(&interface)) {
            findings.advise(
                "the loopback interface is not up: TCP between ranks of this host can't work (`ip link set lo up`)",
            );
        }
        if self.interfaces.iter().find(usable(false)).is_none() {
            findings
                .advise("no interface but loopback is up with an address: ranks of other hosts can't reach this one");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: &str, is_up: bool, address: Option<&str>) -> Address {
        let address = address.map(|text| text.parse().expect("an address"));
        Address { interface: interface.to_owned(), is_up, is_loopback: interface == "lo", address }
    }

    #[test]
    fn addresses_are_grouped_by_interface() {
        let found = vec![
            address("lo", true, None),
            address("eth0", true, Some("10.0.0.2")),
            address("lo", true, Some("127.0.0.1")),
            address("lo", true, Some("::1")),
        ];
        let network = Network { interfaces: group(found) };
        assert_eq!(network.lines(), ["lo up: 127.0.0.1, ::1", "eth0 up: 10.0.0.2"]);
        let mut findings = Findings::default();
        network.judge(&mut findings);
        assert!(findings.advice.is_empty(), "{:?}", findings.advice);
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_advice() {
        let judged = |found| {
            let mut findings = Findings::default();
            Network { interfaces: group(found) }.judge(&mut findings);
            findings.advice.len()
        };
        assert_eq!(judged(vec![]), 2);
        assert_eq!(judged(vec![address("lo", true, Some("127.0.0.1")), address("eth0", false, Some("10.0.0.2"))]), 1);
        assert_eq!(judged(vec![address("lo", false, None), address("eth0", true, Some("10.0.0.2"))]), 1);
    }
}
