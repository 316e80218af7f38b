//! Reduction kernels on one core. Throughput counts each source once: the bytes that arrive, as algorithm bandwidth does.
//!
//! 256 KiB per operand lie in a second-level cache; 32 MiB are meant to lie in none.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use unisono::reduce::{Kernel, Source};
use unisono::{DType, ReduceOp};

const TYPES: [DType; 6] = [DType::F32, DType::Bf16, DType::F16, DType::Fp8E4M3, DType::Fp8E5M2, DType::I32];

/// Bytes that are a normal number in every float type, the same in every run. (Subnormals would measure the processor's microcode.)
fn operand(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|i| 0x30 + ((i * 7 + seed * 5) % 16) as u8).collect()
}

fn fold(criterion: &mut Criterion, name: &str, op: ReduceOp, sources: usize, bytes: usize) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes((bytes * sources) as u64));
    for dtype in TYPES {
        let mut operands: Vec<Vec<u8>> = (0..sources).map(|seed| operand(bytes, seed)).collect();
        let destination = operands[0].as_mut_ptr();
        let sources: Vec<Source> =
            operands.iter().map(|bytes| Source { address: bytes.as_ptr(), raw: false }).collect();
        let kernel = Kernel::new(dtype, op, sources.len());
        group.bench_function(BenchmarkId::from_parameter(dtype), |bencher| {
            // SAFETY: all operands have `bytes` bytes and live until the end of the loop; the destination is the first of them.
            bencher.iter(|| unsafe { kernel.run(&sources, destination, bytes / dtype.size(), false) });
        });
    }
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    fold(criterion, "sum of 2, 256 KiB each", ReduceOp::Sum, 2, 256 << 10);
    fold(criterion, "sum of 4, 256 KiB each", ReduceOp::Sum, 4, 256 << 10);
    fold(criterion, "sum of 8, 64 KiB each", ReduceOp::Sum, 8, 64 << 10);
    fold(criterion, "max of 2, 256 KiB each", ReduceOp::Max, 2, 256 << 10);
    fold(criterion, "sum of 2, 64 B each", ReduceOp::Sum, 2, 64);
    fold(criterion, "sum of 2, 8 B each", ReduceOp::Sum, 2, 8);
    fold(criterion, "sum of 2, 32 MiB each", ReduceOp::Sum, 2, 32 << 20);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(700));
    targets = kernels
}
criterion_main!(benches);
