use super::*;
use crate::topology::layout::Layout;
use crate::topology::quantity::Origin;
use crate::topology::unit::LinkClass;

fn whole(name: &str) -> Topology {
    Request { cores: 4, ..Request::new(name) }.topology().unwrap()
}

#[test]
fn totals_are_the_vendors_to_the_digits_published() {
    for design in DESIGNS {
        let topology = whole(design.name);
        for total in design.totals {
            let modelled = total.sum.of(&topology.kinds[0], topology.gpu.memory_bytes_per_s);
            let digits = |value: f64| format!("{value:.*}", total.decimals);
            assert_eq!(digits(modelled), digits(total.value), "{}: {}", design.name, total.sum.name());
        }
        assert!(!design.totals.is_empty(), "{}", design.name);
    }
}

#[test]
fn an_ultraserver_is_as_published() {
    let rack = whole("u-p6e-gb200x72");
    let unit = &rack.kinds[0];
    assert_eq!((rack.name.as_str(), rack.gpus(), rack.layout()), ("p6e-gb200x72", 72, Layout::Flat));
    assert!(rack.reduces_in_switch());
    assert_eq!(format!("{:.1}", Sum::Nic.of(unit, 0.0)), "28.8");
    assert_eq!(format!("{:.0}", Sum::NvLink.of(unit, 0.0)), "130");
    assert_eq!(Sum::NicOfHost.of(unit, 0.0), 1600.0);
    // Both cards of a GPU have its whole rate, and together no more.
    let cards: Vec<_> = unit.links.iter().filter(|link| link.from == 5 && link.class == LinkClass::Nic).collect();
    assert_eq!(cards.iter().map(|link| link.bytes_per_s).collect::<Vec<_>>(), [50e9, 50e9]);
    assert!(unit.limits.iter().any(|limit| limit.name == "efa5 out" && limit.bytes_per_s == 50e9));
}

#[test]
fn part_of_a_machine_is_part_of_its_rates() {
    let part = Request { units: 16, gpus_per_unit: Some(64), ..Request::new("p6e-gb200x72") }.topology().unwrap();
    assert_eq!((part.gpus(), part.units(), part.layout()), (1024, 16, Layout::Blocks(64)));
    assert_eq!(Sum::Nic.of(&part.kinds[0], 0.0), 64.0 * 0.4);
    assert!(!part.constants.iter().any(|constant| constant.name == Sum::Nic.name()));
    let faster = Request { nic_gbps_per_gpu: Some(200.0), ..Request::new("p6e-gb200x72") }.topology().unwrap();
    assert_eq!(Sum::Nic.of(&faster.kinds[0], 0.0), 14.4);
    let nic = faster.constants.iter().find(|constant| constant.name == "network of a GPU, each direction").unwrap();
    assert_eq!((nic.quantity.value, nic.quantity.origin), (200.0, Origin::Given));
    // Two GPUs of p4d share a NIC; a GPU alone at one has all of it.
    let three = Request { gpus_per_unit: Some(3), ..Request::new("p4d") }.topology().unwrap();
    assert_eq!(three.kinds[0].bytes_per_s_out(LinkClass::Nic), 2.0 * 12.5e9);
}

#[test]
fn routes_take_their_published_time() {
    let machine = Request { units: 2, ..Request::new("p5en") }.topology().unwrap();
    assert!((machine.route(0, 7).unwrap().latency_ns - 870.0).abs() < 1e-6);
    assert_eq!(machine.route(0, 8).unwrap().latency_ns, 18_000.0);
}

#[test]
fn half_a_million_gpus_are_one_description() {
    let machine = Request { units: 6944, ..Request::new("p6e-gb200x72") }.topology().unwrap();
    assert_eq!((machine.gpus(), machine.kinds.len()), (499_968, 1));
}

#[test]
fn every_number_has_its_source_and_assumptions_are_flagged() {
    for name in names() {
        let machine = whole(name);
        assert!(machine.constants.iter().all(|constant| !constant.quantity.source.is_empty()), "{name}");
        assert!(machine.constants.iter().all(|constant| constant.quantity.value > 0.0), "{name}");
    }
    let gb300 = whole("p6e-gb300x72");
    let assumed: Vec<&str> = gb300.assumed().map(|constant| &*constant.name).collect();
    assert!(assumed.contains(&"network of a GPU, each direction"), "{assumed:?}");
}

#[test]
fn the_host_is_its_cores() {
    let host = whole("host");
    assert_eq!((host.gpus(), host.layout(), host.reduces_in_switch()), (4, Layout::Flat, false));
    assert_eq!(host.route(0, 3).unwrap().latency_ns, 236.0);
    let crowded = Request { cores: 4, gpus_per_unit: Some(8), ..Request::new("host") }.topology().unwrap();
    assert_eq!(crowded.route(0, 3).unwrap().latency_ns, 6000.0);
}

#[test]
fn what_is_not_there_is_one_sentence() {
    let told = |request: Request| request.topology().unwrap_err().to_string();
    let base = Request::new("p6e-gb200x72");
    assert!(told(Request::new("p6e-gb200-x72")).contains("did you mean `p6e-gb200x72`?"));
    assert!(told(Request { units: 0, ..base.clone() }).contains("1 unit or more"));
    assert!(told(Request { units: 1_000_000_000_000, ..base.clone() }).contains("more than the 16777216 GPUs"));
    let too_many = told(Request { gpus_per_unit: Some(73), ..base.clone() });
    assert_eq!(too_many, "a unit of p6e-gb200x72 has 72 GPUs, and 73 were asked for: give from 1 to 72");
    assert!(told(Request { gpus_per_unit: Some(0), ..base.clone() }).contains("from 1 to 72"));
    for gbps in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e7] {
        assert!(told(Request { nic_gbps_per_gpu: Some(gbps), ..base.clone() }).contains("a NIC can't carry"));
    }
    assert!(told(Request { units: 2, ..Request::new("host") }).contains("give 1 unit"));
    assert!(told(Request { cores: 1 << 40, ..Request::new("host") }).contains("give fewer"));
}
