use super::*;

fn job(variables: &[(&str, &str)]) -> Result<Job> {
    Job::from_environment(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
}

/// What the launchers set for one rank, as recorded from each.
const TORCHRUN: &[(&str, &str)] = &[
    ("RANK", "2"),
    ("WORLD_SIZE", "4"),
    ("LOCAL_RANK", "2"),
    ("LOCAL_WORLD_SIZE", "4"),
    ("MASTER_ADDR", "node7"),
    ("MASTER_PORT", "29500"),
    ("TORCHELASTIC_RUN_ID", "none"),
    ("TORCHELASTIC_RESTART_COUNT", "1"),
];
const OPEN_MPI: &[(&str, &str)] = &[
    ("OMPI_COMM_WORLD_RANK", "1"),
    ("OMPI_COMM_WORLD_SIZE", "2"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
    ("PMIX_NAMESPACE", "prterun-host-4711@1"),
    ("PMIX_RANK", "1"),
];
const HYDRA: &[(&str, &str)] =
    &[("PMI_RANK", "0"), ("PMI_SIZE", "3"), ("MPI_LOCALNRANKS", "3"), ("MPI_LOCALRANKID", "0"), ("PMI_FD", "7")];
const SLURM: &[(&str, &str)] = &[
    ("SLURM_PROCID", "5"),
    ("SLURM_NTASKS", "8"),
    ("SLURM_STEP_NUM_TASKS", "8"),
    ("SLURM_LOCALID", "1"),
    ("SLURM_NNODES", "2"),
    ("SLURM_STEP_NUM_NODES", "2"),
    ("SLURM_JOB_ID", "1234"),
    ("SLURM_STEP_ID", "2"),
    ("SLURM_STEP_NODELIST", "gpu[07-08]"),
];

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    more.iter().chain(base).copied().collect()
}

fn named(key: &str) -> Meeting {
    Meeting::Local(JobKey::Named(key.to_owned()))
}

fn at(host: &str, port: u16) -> Meeting {
    Meeting::Address { host: host.to_owned(), port }
}

#[test]
fn every_launcher_is_recognised() {
    let cases = [
        (TORCHRUN.to_vec(), Launcher::Torchrun, 2, 4, named("torchrun none node7:29500 restart 1")),
        (OPEN_MPI.to_vec(), Launcher::OpenMpi, 1, 2, named("pmix prterun-host-4711@1")),
        (HYDRA.to_vec(), Launcher::Hydra, 0, 3, Meeting::Local(JobKey::Parent)),
        (with(SLURM, &[("SLURM_STEP_NUM_NODES", "1")]), Launcher::Slurm, 5, 8, named("slurm 1234.2")),
        (
            with(SLURM, &[("PMI_RANK", "5"), ("PMI_SIZE", "8"), ("UNISONO_SECRET", "s")]),
            Launcher::Slurm,
            5,
            8,
            at("gpu07", 29_746),
        ),
        (vec![("RANK", "1"), ("WORLD_SIZE", "2")], Launcher::Plain, 1, 2, Meeting::Local(JobKey::Parent)),
        (vec![("RANK", "1"), ("WORLD_SIZE", "2"), ("UNISONO_JOB_ID", "a")], Launcher::Plain, 1, 2, named("job a")),
        (
            vec![("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "4000")],
            Launcher::Plain,
            1,
            2,
            named("at 127.0.0.1:4000"),
        ),
        (
            vec![("UNISONO_RANK", "1"), ("UNISONO_WORLD_SIZE", "3"), ("RANK", "7")],
            Launcher::Unisono,
            1,
            3,
            Meeting::Local(JobKey::Parent),
        ),
        (vec![("PATH", "/bin")], Launcher::Alone, 0, 1, Meeting::Alone),
        (vec![("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "far")], Launcher::Plain, 0, 1, Meeting::Alone),
    ];
    for (variables, launcher, rank, size, meeting) in cases {
        let job = job(&variables).unwrap_or_else(|error| panic!("{variables:?}: {error}"));
        assert_eq!((job.launcher, job.rank, job.size), (launcher, rank, size), "{variables:?}");
        assert_eq!(job.meeting, meeting, "{variables:?}");
    }
}

#[test]
fn our_launcher_goes_before_all_others_and_meets_at_its_address() {
    let variables = with(
        OPEN_MPI,
        &[
            ("RANK", "3"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_RANK", "3"),
            ("LOCAL_WORLD_SIZE", "4"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", "41000"),
            ("UNISONO_SECRET", "0f0f"),
            ("UNISONO_LAUNCHED", "1"),
        ],
    );
    let job = job(&variables).unwrap();
    assert_eq!((job.launcher, job.rank, job.size), (Launcher::Unisono, 3, 4));
    assert_eq!((job.local_rank, job.local_size), (Some(3), Some(4)));
    assert_eq!(job.meeting, at("127.0.0.1", 41000));
    assert!(!format!("{job:?}").contains("0f0f"), "the secret is never shown");
}

#[test]
fn torchruns_own_port_is_never_taken() {
    let remote = with(TORCHRUN, &[("LOCAL_WORLD_SIZE", "3"), ("UNISONO_SECRET", "s")]);
    assert_eq!(job(&remote).unwrap().meeting, at("node7", 29501));
    let chosen = with(&remote, &[("UNISONO_PORT", "6000")]);
    assert_eq!(job(&chosen).unwrap().meeting, at("node7", 6000));
    let local = with(TORCHRUN, &[("UNISONO_SECRET", "s")]);
    assert_eq!(job(&local).unwrap().meeting, named("torchrun none node7:29500 restart 1"));
    let last = with(&remote, &[("MASTER_PORT", "65535")]);
    assert!(job(&last).unwrap_err().to_string().contains("UNISONO_PORT"));
}

#[test]
fn several_hosts_need_a_secret_and_an_address() {
    let cases = [
        (with(TORCHRUN, &[("LOCAL_WORLD_SIZE", "3")]), "set UNISONO_SECRET"),
        (with(OPEN_MPI, &[("OMPI_COMM_WORLD_SIZE", "4")]), "set UNISONO_SECRET"),
        (with(OPEN_MPI, &[("OMPI_COMM_WORLD_SIZE", "4"), ("UNISONO_SECRET", "s")]), "set MASTER_ADDR"),
        (SLURM.to_vec(), "set UNISONO_SECRET"),
        (vec![("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "far"), ("MASTER_PORT", "1")], "set UNISONO_SECRET"),
        (vec![("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "far"), ("UNISONO_SECRET", "s")], "set MASTER_PORT"),
    ];
    for (variables, remedy) in cases {
        let error = job(&variables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(remedy), "{variables:?}: {error}");
    }
}

#[test]
fn a_slurm_step_is_local_if_it_has_one_node_and_only_then() {
    let one = job(&with(SLURM, &[("SLURM_STEP_NUM_NODES", "1")])).unwrap();
    assert_eq!((one.local_rank, one.local_size), (Some(1), Some(8)));
    // What was asked for per node is not what runs there.
    let two = with(SLURM, &[("SLURM_NTASKS_PER_NODE", "8"), ("UNISONO_SECRET", "s")]);
    assert_eq!(job(&two).unwrap().meeting, at("gpu07", 29_746));
}

#[test]
fn contradictions_name_variable_value_and_remedy() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("RANK", "2"), ("WORLD_SIZE", "2")], "RANK=2 is not below WORLD_SIZE=2"),
        (&[("RANK", "2")], "RANK=2 is set, but WORLD_SIZE is not"),
        (&[("WORLD_SIZE", "2")], "WORLD_SIZE=2 is set, but RANK is not"),
        (&[("RANK", "0"), ("WORLD_SIZE", "0")], "WORLD_SIZE=0"),
        (&[("RANK", "0"), ("WORLD_SIZE", "5000000000")], "more than the 131072 ranks of a world"),
        (&[("RANK", "-1"), ("WORLD_SIZE", "2")], "RANK=-1 is not a whole number"),
        (&[("RANK", "0"), ("WORLD_SIZE", "two")], "WORLD_SIZE=two is not a whole number"),
        (&[("RANK", ""), ("WORLD_SIZE", "2")], "RANK is set but empty"),
        (&[("UNISONO_LAUNCHED", "1")], "neither RANK nor WORLD_SIZE is set"),
        (
            &[("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "3")],
            "LOCAL_WORLD_SIZE=3 does not fit WORLD_SIZE=2",
        ),
        (
            &[("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "2"), ("LOCAL_WORLD_SIZE", "2")],
            "LOCAL_RANK=2 is not below",
        ),
        (
            &[
                ("SLURM_PROCID", "1"),
                ("SLURM_STEP_ID", "0"),
                ("SLURM_NTASKS", "2"),
                ("SLURM_NNODES", "1"),
                ("SLURM_LOCALID", "2"),
            ],
            "SLURM_LOCALID=2 is not below SLURM_NTASKS=2",
        ),
        (
            &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "0")],
            "MASTER_PORT=0 is not a port",
        ),
        (&[("RANK", "0"), ("WORLD_SIZE", "2"), ("UNISONO_SECRET", " ")], "UNISONO_SECRET is set but empty"),
    ];
    for (variables, expected) in cases {
        let error = job(variables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(expected), "{variables:?}: {error}");
    }
}

#[test]
fn the_first_node_of_a_slurm_list() {
    let cases = [
        ("gpu[07-09,12],login", Some("gpu07")),
        ("gpu3", Some("gpu3")),
        ("a,b[1-2]", Some("a")),
        ("rack[2,4]", Some("rack2")),
        ("rack[0-1]gpu[07-08,12],login", Some("rack0gpu07")),
        ("gpu[1-2]-ib", Some("gpu1-ib")),
        ("", None),
        ("gpu[", None),
        ("gpu[]", None),
        ("gpu]1", None),
        ("gpu[1[2]]", None),
        ("a b", None),
    ];
    for (list, first) in cases {
        assert_eq!(first_node(list).as_deref(), first, "{list}");
    }
}

#[test]
fn rank_and_world_size_beside_a_launcher_must_say_the_same() {
    let alone = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1"), ("SLURM_STEP_ID", "0")];
    for base in [&alone[..], OPEN_MPI, HYDRA] {
        let error = job(&with(base, &[("RANK", "1"), ("WORLD_SIZE", "7")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let told = error.to_string();
        assert!(["RANK=1", "WORLD_SIZE=7", base[0].0, "UNISONO_RANK"].iter().all(|part| told.contains(part)), "{told}");
    }
    let same = job(&with(OPEN_MPI, &[("RANK", "1"), ("WORLD_SIZE", "2")])).unwrap();
    assert_eq!((same.rank, same.size, same.launcher), (1, 2, Launcher::OpenMpi));
    let own = [("UNISONO_RANK", "0"), ("UNISONO_WORLD_SIZE", "1"), ("RANK", "1"), ("WORLD_SIZE", "7")];
    assert_eq!(job(&with(&alone, &own)).unwrap().size, 1);
}
