//! Finds the Java that a service runs on, and fetches the service's jars with Maven.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// Cassandra 5.0 starts on 11 and 17 only; Kafka wants 17 or newer.
pub const VERSION: u32 = 17;

#[cfg(target_os = "macos")]
pub const INSTALL_JAVA: &str = "brew install openjdk@17";
#[cfg(not(target_os = "macos"))]
pub const INSTALL_JAVA: &str = "sudo apt-get install -y openjdk-17-jre-headless";
#[cfg(target_os = "macos")]
pub const INSTALL_MAVEN: &str = "brew install maven";
#[cfg(not(target_os = "macos"))]
pub const INSTALL_MAVEN: &str = "sudo apt-get install -y maven";

/// The first Java 17: of `JAVA_HOME`, of `PATH`, or where packages put it.
pub fn find() -> Result<PathBuf> {
    first_fit(candidates())
}

fn first_fit(candidates: Vec<PathBuf>) -> Result<PathBuf> {
    let mut others = Vec::new();
    for java in candidates {
        match version(&java) {
            Some(VERSION) => return Ok(java),
            Some(other) => others.push(format!("{} is Java {other}", java.display())),
            None => {}
        }
    }
    let found = if others.is_empty() {
        "there is no Java".to_owned()
    } else {
        format!("there is no Java {VERSION} ({})", others.join(", "))
    };
    bail!("{found}: {INSTALL_JAVA}, or set JAVA_HOME to a Java {VERSION}")
}

fn candidates() -> Vec<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let installed = ["/usr/lib/jvm", "/opt/homebrew/opt", "/usr/local/opt"]
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|entry| entry.file_name().to_string_lossy().contains("17"))
        .map(|entry| entry.path().join("bin/java"))
        .filter(|java| java.is_file());
    home.into_iter().chain([PathBuf::from("java")]).chain(installed).collect()
}

fn version(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stderr))
}

/// Reads `openjdk version "17.0.15" 2025-04-15`; up to Java 8 that was `"1.8.0_402"`.
fn parse_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    let mut parts = quoted.split(['.', '-', '+', '_']);
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        major => Some(major),
    }
}

/// Whether Maven can be run.
pub fn has_maven() -> bool {
    Command::new("mvn").arg("-version").output().is_ok_and(|output| output.status.success())
}

/// Puts the artefacts (`group:name:version`) and all they depend on into `libs`, where they are not there yet.
pub fn fetch(artefacts: &[&str], libs: &Path) -> Result<()> {
    if libs.is_dir() {
        return Ok(());
    }
    let artefact = artefacts.first().context("no artefact to fetch")?;
    if !has_maven() {
        bail!("Maven is missing, and lab needs it to fetch {artefact}: {INSTALL_MAVEN}");
    }
    // Two commands at once must not write the same files; the second finds them when its turn comes.
    let lock = libs.with_extension("lock");
    if let Some(folder) = libs.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let lock = std::fs::File::create(&lock)
        .with_context(|| format!("cannot create {}", lock.display()))?;
    lock.lock().context("cannot lock the folder of jars")?;
    if libs.is_dir() {
        return Ok(());
    }
    eprintln!("fetching {artefact} with Maven, once");
    // Into a folder beside it first: what is cut off half-way must not look whole.
    let partial = libs.with_extension("partial");
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial)
        .with_context(|| format!("cannot create {}", partial.display()))?;
    let pom = partial.join("pom.xml");
    std::fs::write(&pom, pom_text(artefacts)?)
        .with_context(|| format!("cannot write {}", pom.display()))?;
    let output = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .output()
        .context("cannot run mvn")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let reason = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it says nothing");
        bail!(
            "Maven cannot fetch {artefact}: {reason}: is there a network, or a mirror in ~/.m2/settings.xml?"
        );
    }
    std::fs::rename(&partial, libs).with_context(|| format!("cannot rename to {}", libs.display()))
}

fn pom_text(artefacts: &[&str]) -> Result<String> {
    let mut dependencies = String::new();
    for artefact in artefacts {
        let [group, name, version] = artefact.split(':').collect::<Vec<_>>()[..] else {
            bail!("not an artefact: {artefact}");
        };
        dependencies += &format!(
            "    <dependency>
      <groupId>{group}</groupId>
      <artifactId>{name}</artifactId>
      <version>{version}</version>
    </dependency>
"
        );
    }
    Ok(format!(
        "<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>lab</groupId>
  <artifactId>services</artifactId>
  <version>1</version>
  <dependencies>
{dependencies}  </dependencies>
</project>
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_of_all_ages_are_read() {
        assert_eq!(parse_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(parse_version("java version \"1.8.0_402\""), Some(8));
        assert_eq!(parse_version("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(parse_version("openjdk version \"21\""), Some(21));
        assert_eq!(parse_version("The operation couldn't be completed."), None);
    }

    #[cfg(unix)]
    #[test]
    fn java_of_another_version_is_passed_over_and_named() {
        use std::os::unix::fs::PermissionsExt;

        let folder = crate::scratch::Scratch::new();
        let java = |version: u32| {
            let name = format!("java-{version}");
            folder.write(
                &name,
                &format!("#!/bin/sh\necho 'openjdk version \"{version}.0.1\"' >&2\n"),
            );
            let path = folder.path().join(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let absent = folder.path().join("absent");
        let (old, fit, new) = (java(11), java(17), java(25));
        let candidates = vec![absent.clone(), old.clone(), new, fit.clone()];
        assert_eq!(first_fit(candidates).unwrap(), fit);
        let error = first_fit(vec![absent.clone(), old]).unwrap_err().to_string();
        assert!(error.contains("is Java 11") && error.contains(INSTALL_JAVA), "{error}");
        assert!(first_fit(vec![absent]).unwrap_err().to_string().starts_with("there is no Java: "));
    }

    #[test]
    fn artefacts_become_dependencies() {
        let pom = pom_text(&["org.example:thing:1.2", "org.example:other:3"]).unwrap();
        assert_eq!(pom.matches("<dependency>").count(), 2);
        for part in ["<groupId>org.example<", "<artifactId>thing<", "<version>1.2<"] {
            assert!(pom.contains(part), "{part} is not in {pom}");
        }
        assert!(pom_text(&["org.example:thing"]).is_err());
    }
}
