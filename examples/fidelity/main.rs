//! How well the prices of the engine `nccl` agree with published measurements.

mod data;
mod fit;

use unisono::nccl::constants::{Gpu, Net};

fn main() {
    let tables = data::read();
    let worlds = fit::worlds(&tables);
    let samples = fit::samples(&tables, &worlds);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut all = fit::All::library();
    if arguments.iter().any(|one| one == "fit") {
        let every: Vec<usize> = (0..tables.len()).collect();
        all = fit::fit(&samples, &every, &all, 400);
        for (generation, gpu) in &mut all.gpus {
            println!("{}", generation.name());
            for (name, value) in Gpu::NAMES.iter().zip(gpu.values_mut()) {
                println!("    {name}: {value:.4},");
            }
        }
        for (network, net) in &mut all.nets {
            println!("{}", network.name());
            for (name, value) in Net::NAMES.iter().zip(net.values_mut()) {
                println!("    {name}: {value:.4},");
            }
        }
    }
    let show = arguments.iter().position(|one| one == "show").map(|index| arguments[index + 1].clone());
    let mut means = (0.0, 0.0, 0.0);
    for (table, own) in tables.iter().zip(&samples.tables) {
        let constants = all.of(table.generation, table.network);
        let mut errors: Vec<f64> = Vec::new();
        for (sample, point) in own.iter().zip(&table.points) {
            let ratio = samples.ratio(&constants, sample);
            errors.push((ratio - 1.0).abs());
            if show.as_ref().is_some_and(|wanted| table.name.contains(wanted)) {
                println!(
                    "{:24} {:4} {:12} {:9.1} {:9.1} {ratio:5.2} {} {}",
                    table.name, point.gpus, point.bytes, point.time_us, ratio * point.time_us, sample.pick.0, sample.pick.1
                );
            }
        }
        errors.sort_by(f64::total_cmp);
        let (median, p90) = (errors[errors.len() / 2], errors[errors.len() * 9 / 10]);
        println!("{:26} {:4} {:6.1} {:6.1}", table.name, errors.len(), 100.0 * median, 100.0 * p90);
        means = (means.0 + median, means.1 + p90, means.2 + 1.0);
    }
    println!("mean of medians {:.1} %, of p90 {:.1} %", 100.0 * means.0 / means.2, 100.0 * means.1 / means.2);
}
