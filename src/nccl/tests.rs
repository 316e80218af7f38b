use super::constants::Constants;
use super::search::{Graph, Graphs};
use super::tuning::Tuning;
use super::*;

fn world(generation: Generation, domains: &[usize], network: Network) -> World {
    let grace = domains.iter().any(|gpus| *gpus > 8);
    World {
        generation,
        domains: domains.to_vec(),
        gpus_per_host: if grace { 4 } else { 8 },
        nvlink_bytes_per_s: match generation {
            Generation::Ampere => 300e9,
            Generation::Hopper => 450e9,
            Generation::Blackwell => 900e9,
        },
        nic_bytes_per_s: 50e9,
        network,
        cpu: if grace { Cpu::Grace } else { Cpu::X86 },
        in_switch: generation > Generation::Ampere,
    }
}

fn worlds() -> Vec<World> {
    vec![
        world(Generation::Ampere, &[8], Network::InfiniBand),
        world(Generation::Ampere, &[8; 3], Network::EfaV2),
        world(Generation::Hopper, &[2], Network::InfiniBand),
        world(Generation::Hopper, &[8; 16], Network::EfaV2),
        world(Generation::Hopper, &[8; 2], Network::EfaV3),
        world(Generation::Hopper, &[1; 5], Network::Roce),
        world(Generation::Blackwell, &[64], Network::InfiniBand),
        world(Generation::Blackwell, &[32], Network::InfiniBand),
        world(Generation::Blackwell, &[72, 64], Network::InfiniBand),
        world(Generation::Blackwell, &[72; 16], Network::EfaV3),
        world(Generation::Blackwell, &[8; 7], Network::EfaV3),
    ]
}

const COLLECTIVES: [Collective; 6] = [
    Collective::AllReduce,
    Collective::AllGather,
    Collective::ReduceScatter,
    Collective::Broadcast,
    Collective::Reduce,
    Collective::AllToAll,
];

fn request(collective: Collective, bytes: u64) -> Request {
    Request { collective, dtype: DType::F32, op: ReduceOp::Sum, bytes }
}

fn version(text: &str) -> Settings {
    Settings::new(text.parse().unwrap())
}

/// Sizes eight to the octave, and those just beside NCCL's own steps.
fn sizes() -> Vec<u64> {
    let mut sizes: Vec<u64> = (0..280).map(|step| 2f64.powf(f64::from(step) / 8.0) as u64).collect();
    sizes.extend((6..30).flat_map(|log2| [(1u64 << log2) - 1, (1 << log2) + 1]));
    sizes.sort_unstable();
    sizes
}

#[test]
fn more_bytes_never_take_less_time() {
    for world in worlds() {
        for text in ["2.18.5", "2.20.5", "2.23.4", "2.26.2", "2.27.7", "2.28.9", "2.29.2", "2.30.7"] {
            for collective in COLLECTIVES {
                let mut before = 0.0;
                for bytes in sizes() {
                    let price = &price(&world, &version(text), &request(collective, bytes)).unwrap()[0];
                    let time_us = price.time_us.unwrap();
                    assert!(time_us >= before, "{text} {collective} of {bytes} on {world:?}: {time_us} after {before}");
                    assert!((price.latency_us.unwrap() + price.bandwidth_us.unwrap() - time_us).abs() < 1e-9 * time_us);
                    before = time_us;
                }
            }
        }
    }
}

/// Of a pair: a faster machine may lead NCCL to pick a worse one.
#[test]
fn more_bandwidth_makes_no_pair_slower() {
    for world in worlds() {
        let constants = Constants::of(world.generation, world.network);
        let faster = [
            World { nvlink_bytes_per_s: 1.5 * world.nvlink_bytes_per_s, ..world.clone() },
            World { nic_bytes_per_s: 1.2 * world.nic_bytes_per_s, ..world.clone() },
        ];
        for (collective, bytes) in
            COLLECTIVES.into_iter().flat_map(|one| [1u64 << 10, 1 << 22, 1 << 32].map(|b| (one, b)))
        {
            let settings = Settings::new(Version::NEWEST);
            let slow = Choice::new(&world, &settings, &request(collective, bytes)).unwrap();
            for faster in &faster {
                let fast = Choice::new(faster, &settings, &request(collective, bytes)).unwrap();
                for one in slow.prices(&constants, bytes as f64).iter().filter(|one| one.rejected.is_none()) {
                    let us = |choice: &Choice| {
                        choice.time(&constants, (one.algorithm, one.protocol), bytes as f64).total_us()
                    };
                    assert!(us(&fast) <= us(&slow), "{collective} of {bytes} by {}/{}", one.algorithm, one.protocol);
                }
            }
        }
    }
}

/// What every GPU must receive over NVLink and every domain over its NICs, at the data sheets' rates.
#[test]
fn no_price_is_below_what_the_wires_allow() {
    for world in worlds() {
        let (n, domains) = (world.ranks() as f64, world.domains.len() as f64);
        let gpus = *world.domains.iter().max().unwrap() as f64;
        for collective in COLLECTIVES {
            let bytes = 1u64 << 34;
            let received = match collective {
                Collective::AllReduce if world.in_switch => 1.0,
                Collective::AllReduce => 2.0 * (n - 1.0) / n,
                Collective::Broadcast | Collective::Reduce => 1.0,
                _ => (n - 1.0) / n,
            };
            let entering = match collective {
                Collective::AllToAll => gpus * (n - gpus) / n,
                Collective::AllReduce | Collective::Broadcast | Collective::Reduce => 1.0,
                _ => (n - gpus) / n,
            };
            let nvlink_us = if gpus > 1.0 && collective != Collective::AllToAll {
                bytes as f64 * received / world.nvlink_bytes_per_s * 1e6
            } else {
                0.0
            };
            let nics_us = bytes as f64 * entering / (gpus * world.nic_bytes_per_s) * 1e6;
            let bound_us = if domains > 1.0 { nvlink_us.max(nics_us) } else { nvlink_us };
            for one in price(&world, &Settings::new(Version::NEWEST), &request(collective, bytes)).unwrap() {
                if let Some(time_us) = one.time_us {
                    let pair = (one.algorithm, one.protocol);
                    assert!(time_us >= bound_us, "{collective} by {pair:?}: {time_us} < {bound_us} on {world:?}");
                }
            }
        }
    }
}

fn picked(world: &World, settings: &Settings, request: Request) -> (Algorithm, Protocol) {
    let first = &price(world, settings, &request).unwrap()[0];
    (first.algorithm, first.protocol)
}

const RING_LL: (Algorithm, Protocol) = (Algorithm::Ring, Protocol::Ll);
const RING_LL128: (Algorithm, Protocol) = (Algorithm::Ring, Protocol::Ll128);
const RING_SIMPLE: (Algorithm, Protocol) = (Algorithm::Ring, Protocol::Simple);
const TREE_LL: (Algorithm, Protocol) = (Algorithm::Tree, Protocol::Ll);
const TREE_LL128: (Algorithm, Protocol) = (Algorithm::Tree, Protocol::Ll128);
const NVLS: (Algorithm, Protocol) = (Algorithm::Nvls, Protocol::Simple);
const NVLS_TREE: (Algorithm, Protocol) = (Algorithm::NvlsTree, Protocol::Simple);

/// Regions of aws-ofi-nccl's tuner (`nccl_ofi_regions.cpp`).
#[test]
fn on_p5en_the_picks_are_those_that_aws_measured() {
    let reduce = |domains: usize, bytes: u64| {
        let world = world(Generation::Hopper, &vec![8; domains], Network::EfaV3);
        picked(&world, &Settings::new(Version::NEWEST), request(Collective::AllReduce, bytes))
    };
    for (domains, bytes, pair) in [
        (2, 190_000, TREE_LL),
        (2, 200_000, TREE_LL128),
        (2, 13_000_000, TREE_LL128),
        (2, 14_000_000, RING_LL128),
        (2, 32_000_000, NVLS_TREE),
        (128, 215_000_000, TREE_LL128),
        (128, 222_000_000, NVLS_TREE),
        (32, 7_400_000_000, NVLS_TREE),
        (32, 7_700_000_000, RING_SIMPLE),
    ] {
        assert_eq!(reduce(domains, bytes), pair, "{domains} instances, {bytes} bytes");
    }
    let nccl = Settings { aws_tuner: false, nvls: false, ..Settings::new(Version::NEWEST) };
    let sixteen = world(Generation::Hopper, &[8; 16], Network::EfaV3);
    let pair = picked(&sixteen, &nccl, request(Collective::AllReduce, 1 << 32));
    assert!([TREE_LL128, RING_SIMPLE, (Algorithm::Tree, Protocol::Simple)].contains(&pair), "{pair:?}");
}

/// The steps in the published tables are where NCCL's own model changes its mind.
#[test]
fn picks_change_where_the_published_tables_have_their_steps() {
    let b200 = |gpus| world(Generation::Blackwell, &[gpus], Network::InfiniBand);
    let new = version("2.29.2");
    for (gpus, collective, bytes, pair) in [
        (4, Collective::AllReduce, 4 << 20, RING_LL),
        (4, Collective::AllReduce, 8 << 20, RING_SIMPLE),
        (8, Collective::AllReduce, 2 << 20, RING_LL),
        (8, Collective::AllReduce, 4 << 20, NVLS),
        (8, Collective::AllGather, 8 << 20, RING_LL),
        (8, Collective::AllGather, 16 << 20, RING_SIMPLE),
    ] {
        assert_eq!(picked(&b200(gpus), &new, request(collective, bytes)), pair, "{gpus} GPUs, {collective} of {bytes}");
    }
    let h100 = world(Generation::Hopper, &[8], Network::InfiniBand);
    assert_eq!(picked(&h100, &new, request(Collective::AllReduce, 1 << 30)), NVLS);
    let old = version("2.23.4");
    let bytewise = |bytes| Request { dtype: DType::I8, ..request(Collective::AllReduce, bytes) };
    assert_eq!(picked(&b200(64), &old, request(Collective::AllReduce, 1 << 10)), NVLS);
    assert_eq!(picked(&b200(64), &old, bytewise(1 << 10)), RING_LL);
    assert_eq!(picked(&b200(64), &old, bytewise(1 << 30)), RING_SIMPLE);
    assert_eq!(picked(&b200(32), &old, request(Collective::AllGather, 1 << 10)), NVLS);
    assert_eq!(picked(&b200(48), &old, request(Collective::AllGather, 1 << 10)), RING_LL);
    let one_each = world(Generation::Hopper, &[1; 5], Network::Roce);
    let pat = picked(&one_each, &new, request(Collective::AllGather, 1 << 10));
    assert_eq!(pat, (Algorithm::Ring, Protocol::Ll), "PAT's latency is believed higher among five");
}

/// As NCCL logs them: 24 channels of 20.6 GB/s links on DGX H100 are 12 of 30, twice.
#[test]
fn searches_find_what_nccl_finds() {
    let graphs = |world: &World| Graphs::of(world, &Tuning::of(world.generation, Version::NEWEST));
    let ring = |generation, domains: &[usize]| {
        let Graph { channels, intra, .. } = graphs(&world(generation, domains, Network::InfiniBand)).ring;
        (channels, intra)
    };
    assert_eq!(ring(Generation::Ampere, &[8]), (12, 20.0));
    assert_eq!(ring(Generation::Hopper, &[8]), (12, 30.0));
    assert_eq!(ring(Generation::Blackwell, &[8]), (16, 45.0));
    assert_eq!(ring(Generation::Hopper, &[8; 4]), (8, 45.0));
    assert_eq!(ring(Generation::Blackwell, &[72; 2]), (15, 48.0));
    assert_eq!(graphs(&world(Generation::Hopper, &[8], Network::InfiniBand)).nvls.channels, 8);
    assert_eq!(graphs(&world(Generation::Blackwell, &[72], Network::InfiniBand)).nvls.channels, 32);
}

fn algorithm_gb_per_s(world: &World, settings: &Settings, pair: (Algorithm, Protocol), bytes: u64) -> f64 {
    let prices = price(world, settings, &request(Collective::AllReduce, bytes)).unwrap();
    let us = prices.iter().find(|one| (one.algorithm, one.protocol) == pair).unwrap().time_us.unwrap();
    bytes as f64 / us / 1e3
}

/// NVIDIA/nccl issue 1801: three racks, four or eight GPUs of each, NVLS off. A ring reaches its NICs' rate, a double tree two thirds
/// of it among three and half of it among more.
#[test]
fn rings_and_trees_of_few_gpus_per_rack_reach_what_their_nics_carry() {
    let settings = Settings { nvls: false, ..version("2.27.3") };
    for gpus in [4, 8] {
        let worlds = [3, 4].map(|racks| world(Generation::Blackwell, &vec![gpus; racks], Network::InfiniBand));
        let nics = gpus as f64 * 50.0;
        let tree = worlds
            .each_ref()
            .map(|world| algorithm_gb_per_s(world, &settings, (Algorithm::Tree, Protocol::Simple), 1 << 36) / nics);
        assert!((0.60..=2.0 / 3.0).contains(&tree[0]) && (0.44..=0.5).contains(&tree[1]), "{gpus} GPUs: {tree:?}");
        let ranks = worlds[0].ranks() as f64;
        let ring = algorithm_gb_per_s(&worlds[0], &settings, RING_SIMPLE, 1 << 36) * 2.0 * (ranks - 1.0) / ranks / nics;
        assert!((0.92..1.0).contains(&ring), "{gpus} GPUs: {ring}");
    }
}

/// The first hop of a message of some bytes between two hosts takes less than that of a large one, and a block of less than a
/// slice is handed on sooner than a slice.
#[test]
fn a_step_of_a_ring_takes_longer_with_more_to_hand_on() {
    let sixteen = world(Generation::Hopper, &[8; 16], Network::InfiniBand);
    let one = Settings::new(Version::NEWEST);
    let latency = |pair: (Algorithm, Protocol), bytes| {
        let prices = price(&sixteen, &one, &request(Collective::AllGather, bytes)).unwrap();
        prices.iter().find(|one| (one.algorithm, one.protocol) == pair).unwrap().latency_us.unwrap()
    };
    assert!(latency(RING_LL, 1 << 24) > 1.5 * latency(RING_LL, 1 << 10));
    assert!(latency(RING_SIMPLE, 1 << 32) > 2.0 * latency(RING_SIMPLE, 1 << 20));
}

#[test]
fn every_pair_is_priced_or_refused_with_a_reason_and_the_pick_is_first() {
    for world in worlds() {
        for collective in COLLECTIVES {
            let prices = price(&world, &Settings::new(Version::NEWEST), &request(collective, 1 << 20)).unwrap();
            assert_eq!(prices.len(), Algorithm::ALL.len() * Protocol::ALL.len());
            assert_eq!(prices[0].rejected, None);
            for one in &prices {
                assert_eq!(one.time_us.is_none(), one.rejected.is_some(), "{one:?}");
            }
            let times: Vec<f64> = prices[1..].iter().map(|one| one.time_us.unwrap_or(f64::INFINITY)).collect();
            assert!(times.is_sorted(), "{times:?}");
        }
    }
}

#[test]
fn the_largest_world_is_priced_like_any() {
    let world = world(Generation::Blackwell, &vec![72; 6944], Network::EfaV3);
    let first = &price(&world, &Settings::new(Version::NEWEST), &request(Collective::AllReduce, 1 << 30)).unwrap()[0];
    assert_eq!((first.algorithm, first.protocol), NVLS_TREE);
    assert!((2e3..1e5).contains(&first.time_us.unwrap()), "{first:?}");
}

#[test]
fn a_thread_that_launches_all_gpus_of_a_host_sets_the_pace_of_small_calls_only() {
    let (one, two) =
        (world(Generation::Hopper, &[8], Network::Roce), world(Generation::Hopper, &[8; 2], Network::Roce));
    let us = |world: &World, launch, bytes| {
        let settings = Settings { launch, ..version("2.29.2") };
        price(world, &settings, &request(Collective::AllReduce, bytes)).unwrap()[0].time_us.unwrap()
    };
    assert!(us(&one, Launch::OneThread, 1 << 10) > 1.5 * us(&one, Launch::PerGpu, 1 << 10));
    assert_eq!(us(&one, Launch::OneThread, 1 << 30), us(&one, Launch::PerGpu, 1 << 30));
    assert_eq!(us(&two, Launch::OneThread, 1 << 10), us(&two, Launch::PerGpu, 1 << 10));
    assert_eq!((version("2.23").launch, version("2.24.3").launch), (Launch::OneThread, Launch::PerGpu));
}

#[test]
fn what_cannot_be_priced_is_said_in_a_sentence() {
    let good = world(Generation::Hopper, &[8; 2], Network::InfiniBand);
    let said =
        |world: &World, collective| price(world, &version("2.29"), &request(collective, 8)).unwrap_err().to_string();
    let all_reduce = |world: World| said(&world, Collective::AllReduce);
    assert_eq!(all_reduce(World { domains: vec![8, 0], ..good.clone() }), "domain 1 has no GPU; leave it out");
    assert_eq!(
        all_reduce(World { domains: vec![1], ..good.clone() }),
        "a collective needs at least 2 GPUs, and the machine has 1"
    );
    assert!(all_reduce(World { domains: vec![], ..good.clone() }).contains("the machine has 0"));
    assert!(all_reduce(World { nic_bytes_per_s: 0.0, ..good.clone() }).starts_with("the NIC rate is 0 bytes/s"));
    assert!(all_reduce(World { nvlink_bytes_per_s: f64::NAN, ..good.clone() }).starts_with("the NVLink rate is NaN"));
    assert!(all_reduce(World { gpus_per_host: 0, ..good.clone() }).contains("at least 1 GPU per host"));
    assert!(said(&good, Collective::Barrier).starts_with("barrier has no price in the engine nccl"));
    assert!(
        price(
            &World { domains: vec![8], nic_bytes_per_s: 0.0, ..good },
            &version("2.29"),
            &request(Collective::AllReduce, 8)
        )
        .is_ok()
    );
    assert_eq!("2.x".parse::<Version>().unwrap_err().to_string(), "`2.x` is no NCCL version; write it as 2.29.2");
    let refused = |text: &str| text.parse::<Version>().unwrap_err().to_string();
    for text in ["2.9.9", "2.17.8", "1.3"] {
        assert!(
            refused(text)
                .contains("older than the oldest whose tuning is known: known are those from 2.18.1 to 2.30.7")
        );
    }
    for text in ["9.9", "3.0.1", "2.41"] {
        assert!(
            refused(text).contains("far newer than the newest whose tuning is known: known are those from 2.18.1 to")
        );
    }
    for text in ["2.30.8", "2.31.2", "2.40.1"] {
        assert_eq!(text.parse::<Version>().unwrap().modelled(), Version::NEWEST, "{text}");
    }
    assert_eq!("2.18".parse::<Version>().unwrap().modelled(), Version::new(2, 18, 0));
    assert_eq!("v2.29.2-1".parse(), Ok(Version::new(2, 29, 2)));
}
