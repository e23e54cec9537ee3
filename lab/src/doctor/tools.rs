//! The programs that chapters need: the toolchain, a C compiler, git, Docker, Java and Maven, the checkers of CI.

use std::time::Duration;

use tokio::process::Command;

use crate::chapters;
use crate::ci::need::Need;
use crate::doctor::finding::Finding;
use crate::services::java;

/// A Docker client may wait for a remote engine without end.
const PATIENCE: Duration = Duration::from_secs(10);

const DOCKER: &str = "from ch-2 on, for images and compose; nothing else needs it";

pub async fn look(tell: &mut impl FnMut(Finding)) {
    tell(rust(&pinned(), &run("rustc", &["--version"]).await));
    tell(components().await);
    let every = "every chapter, to link and for the C code of TLS";
    tell(compiler("gcc", every, Finding::missing).await);
    for name in ["g++", "make"] {
        tell(compiler(name, "from ch-5 on, for librdkafka", Finding::attention).await);
    }
    let git = "to get the course and to compare chapters";
    tell(tool("git", &["--version"], git, &install("git"), Finding::attention).await);
    let curl = "the examples of the READMEs";
    tell(tool("curl", &["--version"], curl, &install("curl"), Finding::attention).await);
    docker().await.into_iter().for_each(&mut *tell);
    tell(java_17());
    let maven = "from ch-3 on, for `cargo lab services`, the first time each";
    tell(tool("mvn", &["-version"], maven, java::INSTALL_MAVEN, Finding::attention).await);
    tell(checkers().await);
}

/// What the program prints; the reason where it can't be run or fails.
async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    // In the workspace, where rustup reads which toolchain is pinned.
    command.args(arguments).current_dir(chapters::root()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => Err(format!("does not answer within {} s", PATIENCE.as_secs())),
        Ok(Err(_)) => Err("not found".to_owned()),
        Ok(Ok(output)) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(Ok(output)) => Err(first_line(&String::from_utf8_lossy(&output.stderr)).to_owned()),
    }
}

type Lack = fn(&str, String, &str, &str) -> Finding;

async fn tool(name: &str, arguments: &[&str], needed_by: &str, mend: &str, lack: Lack) -> Finding {
    match run(name, arguments).await {
        Ok(said) => Finding::good(name, without_colour(first_line(&said)), needed_by),
        Err(reason) => lack(name, reason, needed_by, mend),
    }
}

async fn compiler(name: &str, needed_by: &str, lack: Lack) -> Finding {
    let mend =
        if cfg!(target_os = "macos") { "xcode-select --install".to_owned() } else { install(name) };
    tool(name, &["--version"], needed_by, &mend, lack).await
}

fn install(package: &str) -> String {
    if cfg!(target_os = "macos") {
        format!("brew install {package}")
    } else {
        format!("sudo apt-get install -y {package}")
    }
}

/// Without the libraries that curl names after itself.
fn first_line(text: &str) -> &str {
    text.trim().lines().next().and_then(|line| line.split(" libcurl/").next()).unwrap_or("")
}

/// Maven writes its name in bold even into a pipe.
fn without_colour(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |seen, part| seen + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// The toolchain that the workspace pins, as in `1.95.0`.
fn pinned() -> String {
    let text =
        std::fs::read_to_string(chapters::root().join("rust-toolchain.toml")).unwrap_or_default();
    channel(&text).unwrap_or_default().to_owned()
}

fn channel(toolchain: &str) -> Option<&str> {
    let value = toolchain.lines().find_map(|line| line.trim().strip_prefix("channel"))?;
    value.split('"').nth(1)
}

fn rust(pinned: &str, said: &Result<String, String>) -> Finding {
    let what = "rustc";
    let needed_by = "every chapter";
    let mend = format!("rustup toolchain install {pinned}   # rustup itself: https://rustup.rs");
    let said = match said {
        Ok(said) => said,
        Err(reason) => return Finding::missing(what, reason.clone(), needed_by, &mend),
    };
    let state = |how: &str| format!("{} is {how}", rustc_number(said).unwrap_or(said));
    match (rustc_number(said).and_then(parse_version), parse_version(pinned)) {
        (Some(is), Some(wanted)) if is == wanted => {
            Finding::good(what, state("the pinned version"), needed_by)
        }
        (Some(is), Some(wanted)) if is > wanted => Finding::attention(
            what,
            state(&format!("newer than the pinned {pinned}")),
            needed_by,
            &mend,
        ),
        _ => Finding::missing(
            what,
            state(&format!("not the pinned {pinned}, or newer")),
            needed_by,
            &mend,
        ),
    }
}

/// The number in `rustc 1.95.0 (59807616e 2026-04-14)`.
fn rustc_number(said: &str) -> Option<&str> {
    said.strip_prefix("rustc ")?.split(' ').next()
}

/// Reads `1.95.0` and `1.96.0-nightly`.
fn parse_version(text: &str) -> Option<[u32; 3]> {
    let numbers = text.split('-').next()?;
    let mut parts = numbers.split('.').map(str::parse);
    let version = [parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?];
    parts.next().is_none().then_some(version)
}

async fn components() -> Finding {
    let needed_by = "contributors";
    for (name, component) in [("cargo-clippy", "clippy"), ("cargo-fmt", "rustfmt")] {
        if run(name, &["--version"]).await.is_err() {
            let mend = format!("rustup component add {component}");
            return Finding::attention(
                "clippy, rustfmt",
                format!("{component} is missing"),
                needed_by,
                &mend,
            );
        }
    }
    Finding::good("clippy, rustfmt", "installed", needed_by)
}

async fn docker() -> Vec<Finding> {
    let client = match run("docker", &["--version"]).await {
        Ok(said) => Finding::good("docker", first_line(&said), DOCKER),
        Err(reason) => {
            return vec![Finding::attention("docker", reason, DOCKER, &install("docker.io"))];
        }
    };
    let engine = match run("docker", &["version", "--format", "{{.Server.Version}}"]).await {
        Ok(version) => Finding::good("docker engine", version, DOCKER),
        Err(reason) => {
            Finding::attention("docker engine", reason.clone(), DOCKER, mend_engine(&reason))
        }
    };
    let compose = match run("docker", &["compose", "version", "--short"]).await {
        Ok(version) => Finding::good("docker compose", version, DOCKER),
        Err(_) => {
            let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
            Finding::attention("docker compose", "not installed", DOCKER, mend_compose(&release))
        }
    };
    vec![client, engine, compose]
}

fn mend_engine(reason: &str) -> &'static str {
    if reason.contains("permission denied") {
        "sudo usermod -aG docker $USER   # then log in again"
    } else if cfg!(target_os = "macos") {
        "open -a Docker"
    } else {
        "sudo systemctl start docker   # without systemd: sudo dockerd"
    }
}

/// Ubuntu packages the plugin by this name; Debian's package of a like name is another program up to Debian 12.
fn mend_compose(os_release: &str) -> &'static str {
    if os_release.lines().any(|line| line == "ID=ubuntu") {
        "sudo apt-get install -y docker-compose-v2"
    } else {
        "see https://docs.docker.com/compose/install/"
    }
}

fn java_17() -> Finding {
    let needed_by = "from ch-3 on, for `cargo lab services`: Cassandra, and Kafka from ch-5 on";
    match java::find() {
        Ok(path) => {
            Finding::good("java", format!("{} at {}", java::VERSION, path.display()), needed_by)
        }
        Err(error) => {
            let text = error.to_string();
            let state = text.split(": ").next().unwrap_or_default();
            Finding::attention("java", state, needed_by, java::INSTALL_JAVA)
        }
    }
}

/// What `.ci/tools` installs, in one line: each is small, and nothing but `cargo lab ci` asks for it.
async fn checkers() -> Finding {
    let needed_by = "from ch-4 on, for steps of `cargo lab ci`";
    let mut missing = Vec::new();
    for need in [
        Need::ACTIONLINT,
        Need::CARGO_CYCLONEDX,
        Need::CARGO_DENY,
        Need::CARGO_LLVM_COV,
        Need::GRYPE,
        Need::HADOLINT,
        Need::ZIZMOR,
    ] {
        if need.lack(0, &[]).await.is_some() {
            missing.push(need.name());
        }
    }
    if missing.is_empty() {
        return Finding::good("checkers", "installed", needed_by);
    }
    Finding::attention(
        "checkers",
        format!("not all are here: {}", missing.join(", ")),
        needed_by,
        "bash .ci/tools && rustup component add llvm-tools",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Mark;

    #[test]
    fn versions_are_compared_as_numbers() {
        let mark = |said: &str| rust("1.95.0", &Ok(said.to_owned())).mark;
        assert_eq!(mark("rustc 1.95.0 (59807616e 2026-04-14)"), Mark::Good);
        assert_eq!(mark("rustc 1.100.0-nightly (x 2027-01-01)"), Mark::Attention);
        assert_eq!(mark("rustc 1.9.0"), Mark::Missing);
        assert_eq!(mark("rustc"), Mark::Missing);
        assert_eq!(rust("1.95.0", &Err("not found".to_owned())).mark, Mark::Missing);
    }

    #[test]
    fn odd_versions_are_no_versions() {
        assert_eq!(parse_version("1.95.0"), Some([1, 95, 0]));
        assert_eq!(parse_version("1.96.0-beta.3"), Some([1, 96, 0]));
        for text in ["", "1.95", "1.95.0.1", "stable", "1.x.0"] {
            assert_eq!(parse_version(text), None, "{text}");
        }
    }

    #[test]
    fn workspace_pins_a_version_that_is_read() {
        assert_eq!(channel("[toolchain]\nchannel = \"1.95.0\"\n"), Some("1.95.0"));
        assert_eq!(channel("[toolchain]\n"), None);
        assert!(parse_version(&pinned()).is_some());
    }

    #[test]
    fn each_way_to_have_no_engine_has_its_own_command() {
        let denied = "permission denied while trying to connect to the Docker daemon socket";
        assert!(mend_engine(denied).contains("usermod"));
        assert!(!mend_engine("Cannot connect to the Docker daemon").contains("usermod"));
        assert!(mend_compose("NAME=\"Ubuntu\"\nID=ubuntu\n").contains("docker-compose-v2"));
        assert!(!mend_compose("ID=debian\n").contains("apt-get"));
    }

    #[test]
    fn bold_is_taken_off() {
        assert_eq!(without_colour("\x1b[1mApache Maven 3.8.7\x1b[m"), "Apache Maven 3.8.7");
        assert_eq!(without_colour("plain"), "plain");
    }

    #[tokio::test]
    async fn program_that_is_not_there_is_a_lack() {
        let finding =
            tool("lab-no-such-program", &[], "a test", "install it", Finding::missing).await;
        assert_eq!(finding.mark, Mark::Missing);
        assert!(finding.to_string().contains("> install it"));
    }
}
