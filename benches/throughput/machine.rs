//! What it was measured on.

use std::fs::read_to_string;
use std::process::Command;

fn output(command: &str, argument: &str) -> String {
    let output = Command::new(command).arg(argument).output();
    output.map_or(String::new(), |out| {
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    })
}

fn model() -> String {
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let value = model.and_then(|line| line.split_once(": "));
    value.map_or("unknown", |(_, model)| model).to_owned()
}

/// Processor, cores, kernel, compiler and huge pages, in a line.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = output("uname", "-r");
    let compiler = output("rustc", "--version");
    let huge = read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge = huge.unwrap_or_else(|_| "unknown".into());
    format!(
        "{}, {cores} cores, Linux {kernel}, {compiler}, huge pages: {}",
        model(),
        huge.trim()
    )
}
