//! Which vector instructions this processor has, asked once.

use std::sync::OnceLock;

/// Instructions for which the kernels are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstructionSet {
    /// What the target always has: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// AVX2 with F16C (x86-64 since 2013).
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL and DQ (x86-64 servers since 2017).
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl InstructionSet {
    /// All that this processor has, the widest last.
    pub fn available() -> Vec<InstructionSet> {
        #[allow(unused_mut, reason = "only x86-64 has more than one")]
        let mut available = vec![InstructionSet::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
                available.push(InstructionSet::Avx2);
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
            {
                available.push(InstructionSet::Avx512);
            }
        }
        available
    }

    /// The widest that this processor has.
    pub fn best() -> InstructionSet {
        static BEST: OnceLock<InstructionSet> = OnceLock::new();
        *BEST.get_or_init(|| *InstructionSet::available().last().unwrap_or(&InstructionSet::Baseline))
    }
}

/// An instruction set as a type, so that code for it is compiled apart.
pub(super) trait Target {
    const SET: InstructionSet;
}

pub(super) struct Baseline;
impl Target for Baseline {
    const SET: InstructionSet = InstructionSet::Baseline;
}

#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2;
#[cfg(target_arch = "x86_64")]
impl Target for Avx2 {
    const SET: InstructionSet = InstructionSet::Avx2;
}

#[cfg(target_arch = "x86_64")]
pub(super) struct Avx512;
#[cfg(target_arch = "x86_64")]
impl Target for Avx512 {
    const SET: InstructionSet = InstructionSet::Avx512;
}
