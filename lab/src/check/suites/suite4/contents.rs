//! What is in the image, and what it says of itself.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use tokio::process::Command;

use crate::check::runner::Check;
use crate::check::runner::IMAGE;
use crate::check::subject::Subject;
use crate::docker::Container;
use crate::docker::docker;
use crate::scratch;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the image is under the chapter's size",
        expected: "at most 12 MB in chapter 2, 16 MB from chapter 3 on, 26 MB from chapter 5 on",
        hint: "a stripped static binary and the certificates are all it needs; `docker history IMAGE` shows each layer",
        run: |subject| Box::pin(size(subject)),
        ..IMAGE
    },
    Check {
        name: "the image holds the program and no system",
        expected: "no file in /bin, /sbin, /usr, /lib, /lib64, /var or /root, and the certificates in /etc/ssl/certs",
        hint: "FROM scratch, then COPY the binary and the certificates: what is not there can't be attacked",
        run: |subject| Box::pin(files(subject)),
        ..IMAGE
    },
    Check {
        name: "the image's user is a number, and not root's",
        expected: "a User such as 65532:65532",
        hint: "give USER numbers: Kubernetes can't see from a name that it is not root, and scratch has no /etc/passwd",
        run: |subject| Box::pin(user(subject)),
        ..IMAGE
    },
    Check {
        name: "the image exposes the port that its health check asks",
        expected: "EXPOSE with the port of the image's HTTP_ADDR, or of the program's default where it sets none",
        hint: "set HTTP_ADDR by ENV where the role listens on another port than the default, and EXPOSE only that port",
        run: |subject| Box::pin(port(subject)),
        ..IMAGE
    },
];

const MEGABYTE: u64 = 1_000_000;

/// How large the image of a chapter may be. A row holds until the next one.
const LIMITS: [(u8, u64); 3] = [
    (2, 12 * MEGABYTE),
    (3, 16 * MEGABYTE),
    // The Kafka client, and OpenSSL for it.
    (5, 26 * MEGABYTE),
];

/// A system has its files here. What Docker itself puts into a container is in /dev, /etc, /proc and /sys.
const SYSTEM: [&str; 8] = ["bin/", "sbin/", "usr/", "lib/", "lib32/", "lib64/", "var/", "root/"];

async fn inspect(subject: &Subject, format: &str) -> Result<String> {
    let image = subject.image().context("no image")?;
    docker(["image", "inspect", "--format", format, image]).await
}

fn limit(chapter: u8) -> u64 {
    let rows = LIMITS.iter().rev();
    let mut held = rows.filter(|(from, _)| *from <= chapter.max(LIMITS[0].0));
    held.next().map_or(0, |(_, limit)| *limit)
}

async fn size(subject: &Subject) -> Result<()> {
    let size: u64 = inspect(subject, "{{.Size}}").await?.parse()?;
    let limit = limit(subject.chapter());
    ensure!(
        size <= limit,
        "{} has {:.1} MB, its limit is {} MB",
        subject.image().unwrap_or_default(),
        size as f64 / MEGABYTE as f64,
        limit / MEGABYTE
    );
    Ok(())
}

async fn files(subject: &Subject) -> Result<()> {
    let image = subject.image().context("no image")?;
    let folder = scratch::folder()?;
    let archive = folder.path().join("image.tar");
    let container = Container::new();
    docker(["create", "--name", container.name(), image]).await?;
    docker([
        "export".as_ref(),
        "--output".as_ref(),
        archive.as_os_str(),
        container.name().as_ref(),
    ])
    .await?;
    let listed = Command::new("tar")
        .args(["--list", "--file"])
        .arg(&archive)
        .output()
        .await
        .context("cannot run tar")?;
    ensure!(listed.status.success(), "tar can't read what docker export wrote");
    let names = String::from_utf8_lossy(&listed.stdout);
    let found: Vec<&str> = of_a_system(&names).collect();
    ensure!(
        found.is_empty(),
        "{} files of a system, such as /{}",
        found.len(),
        found.first().unwrap_or(&"")
    );
    ensure!(
        names.lines().any(|name| name.starts_with("etc/ssl/certs/") && !name.ends_with('/')),
        "no certificates in /etc/ssl/certs: no server can be trusted"
    );
    Ok(())
}

/// The names of a tar's list that are files of a system.
fn of_a_system(names: &str) -> impl Iterator<Item = &str> {
    names
        .lines()
        .map(|name| name.trim_start_matches("./"))
        .filter(|name| SYSTEM.iter().any(|folder| name.starts_with(folder) && name != folder))
}

async fn user(subject: &Subject) -> Result<()> {
    let user = inspect(subject, "{{.Config.User}}").await?;
    ensure!(is_number_not_root(&user), "User is {user:?}");
    Ok(())
}

async fn port(subject: &Subject) -> Result<()> {
    let variables = inspect(subject, "{{json .Config.Env}}").await?;
    let variables: Vec<String> = serde_json::from_str::<Option<_>>(&variables)?.unwrap_or_default();
    let exposed = inspect(subject, "{{json .Config.ExposedPorts}}").await?;
    let exposed: Option<BTreeMap<String, Value>> = serde_json::from_str(&exposed)?;
    let asked = asked_port(subject.chapter(), &variables);
    let exposed: Vec<String> = exposed.unwrap_or_default().into_keys().collect();
    ensure!(
        exposed == [format!("{asked}/tcp")],
        "`healthcheck` asks port {asked}, EXPOSE names {exposed:?}"
    );
    Ok(())
}

/// The port that `healthcheck` asks without another setting than the image's own.
fn asked_port(chapter: u8, variables: &[String]) -> &str {
    let mut set = variables.iter();
    let address = set.find_map(|variable| variable.strip_prefix("HTTP_ADDR="));
    let default = if chapter < 5 { "7000" } else { "8080" };
    let port = address.and_then(|address| address.rsplit_once(':'));
    port.map_or(default, |(_, port)| port)
}

fn is_number_not_root(user: &str) -> bool {
    let (user, group) = user.split_once(':').unwrap_or((user, "1"));
    [user, group].iter().all(|id| id.parse::<u32>().is_ok_and(|id| id > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_until_the_next_row() {
        assert_eq!(
            [1, 2, 3, 4, 5, 8].map(|chapter| limit(chapter) / MEGABYTE),
            [12, 12, 16, 16, 26, 26]
        );
    }

    #[test]
    fn health_check_asks_the_port_of_http_addr_or_the_programs_default() {
        let variables = ["PATH=/bin".to_owned(), "HTTP_ADDR=0.0.0.0:2112".to_owned()];
        assert_eq!(asked_port(5, &variables), "2112");
        assert_eq!(asked_port(4, &variables[..1]), "7000");
        assert_eq!(asked_port(5, &[]), "8080");
    }

    #[test]
    fn shells_and_libraries_are_of_a_system_and_what_docker_adds_is_not() {
        let names = ".dockerenv\napp\ndev/\ndev/console\netc/hosts\netc/ssl/certs/ca-certificates.crt\nusr/\n";
        assert_eq!(of_a_system(names).count(), 0);
        let names = "app\nbin/sh\nusr/lib/libc.so\n";
        assert_eq!(of_a_system(names).collect::<Vec<_>>(), ["bin/sh", "usr/lib/libc.so"]);
    }

    #[test]
    fn only_numbers_above_zero_are_a_user() {
        for good in ["65532", "65532:65532", "1:1"] {
            assert!(is_number_not_root(good), "{good}");
        }
        for bad in ["", "0", "root", "nobody:65534", "65532:0", "65532:root", "0:1"] {
            assert!(!is_number_not_root(bad), "{bad:?}");
        }
    }
}
