//! The simulator's section of the page of benchmarks: marked, so that others write around it.

use std::{fs, process::Command};

/// The section reaches from here to the end of the page.
const MARK: &str = "<!-- simulator: from here on written by `make bench-sim` -->\n";
/// Each part is between two of these, with its name.
const PART: &str = "<!-- part ";

/// Writes the parts into the page; those that were not run stay as they are.
pub fn write(path: &str, parts: &[(&str, String)]) -> Result<(), String> {
    let old = fs::read_to_string(path).map_err(|err| format!("cannot read {path}: {err}"))?;
    let page = renew(&old, &head(), parts);
    fs::write(path, page).map_err(|err| format!("cannot write {path}: {err}"))
}

fn renew(old: &str, head: &str, parts: &[(&str, String)]) -> String {
    let (before, after) = old.split_once(MARK).unwrap_or((old, ""));
    let mut page = format!("{}\n\n{MARK}{head}", before.trim_end());
    let kept = after.split(PART).skip(1).filter_map(|part| {
        let (name, text) = part.split_once(" -->\n")?;
        Some((name, text.trim_end()))
    });
    let kept: Vec<(&str, &str)> = kept.collect();
    let is_new = |name: &str| parts.iter().any(|(part, _)| *part == name);
    let kept = kept.iter().filter(|(name, _)| !is_new(name)).copied();
    let new = parts.iter().map(|(name, text)| (*name, text.trim_end()));
    let mut all: Vec<(&str, &str)> = kept.chain(new).collect();
    let order = |name: &str| super::PARTS.iter().position(|(part, _)| *part == name);
    all.sort_by_key(|(name, _)| order(name));
    for (name, text) in all {
        page += &format!("\n{PART}{name} -->\n{text}\n");
    }
    page
}

fn head() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map_or_else(
            |_| "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "\n## In the simulator\n\nWritten by `make bench-sim` (one part: `cargo run --release -p \
         sim -- bench detection --hosts 1000 --seeds 0..5`).\nTime is virtual, so the machine \
         matters only to the last table. One way takes 0.2 to 0.5 ms, one datagram in a\nhundred \
         5 ms; all who are compared have the same network, faults and seeds. Holdfast is its real \
         core; foca is its\nreal crate (`Config::new_lan`); memberlist is a model that follows its \
         source (`DefaultLANConfig`, Lifeguard).\nCells: the median (least to most).\n\n- Date: \
         {}\n- Machine: {cores} cores of {}\n- Commit: {}\n",
        said("date", &["-u", "+%Y-%m-%d"]),
        model.unwrap_or("unknown"),
        said("git", &["describe", "--always", "--dirty"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_were_not_run_stay_and_the_rest_of_the_page_too() {
        let first = renew(
            "# Page\n\ntext\n",
            "head\n",
            &[("speed", "fast\n".to_owned())],
        );
        let parts = [("detection", "soon\n".to_owned())];
        let second = renew(&first, "head 2\n", &parts);
        let expected = format!(
            "# Page\n\ntext\n\n{MARK}head 2\n\n{PART}detection -->\nsoon\n\n{PART}speed -->\nfast\n"
        );
        assert_eq!(second, expected);
        assert_eq!(renew(&second, "head 2\n", &parts), expected);
    }
}
