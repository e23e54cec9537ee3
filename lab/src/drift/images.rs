//! Fifth rule: an image that a chapter takes from a registry has an exact version, in a Dockerfile's FROM and
//! `COPY --from` and in the `image:` of compose files and manifests. Else the same commit would be another program
//! tomorrow. The chapters' own images, `ch-N`, are built and not taken.

use crate::diff::files::Chapter;
use crate::diff::files::Content;
use crate::drift::violation::Violation;

pub fn check(chapter: &Chapter) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, content) in &chapter.files {
        let Content::Text(text) = content else {
            continue;
        };
        let name = path.rsplit('/').next().unwrap_or(path);
        let images = if name.contains("Dockerfile") {
            of_dockerfile(text)
        } else if name.ends_with(".yml") || name.ends_with(".yaml") {
            of_yaml(text)
        } else {
            continue;
        };
        for (line, image) in images {
            if let Some(what) = fault(image) {
                violations.push(Violation {
                    file: format!("{}/{path}:{line}", chapter.name()),
                    what: format!("takes the image `{image}`, {what}"),
                    to_do: "name one version, as in `cassandra:5.0.5`".to_owned(),
                });
            }
        }
    }
    violations
}

/// Line numbers and images; stages of the same file are none.
fn of_dockerfile(text: &str) -> Vec<(usize, &str)> {
    let mut stages: Vec<&str> = vec!["scratch"];
    let mut images = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let instruction = words.next().unwrap_or_default();
        if instruction.eq_ignore_ascii_case("FROM") {
            let mut words = words.skip_while(|word| word.starts_with("--"));
            let image = words.next().unwrap_or_default();
            if !stages.contains(&image) {
                images.push((index + 1, image));
            }
            stages.extend(words.nth(1));
        } else if instruction.eq_ignore_ascii_case("COPY") {
            let from = words.find_map(|word| word.strip_prefix("--from="));
            // A stage may be given by its number too.
            let stage = |image: &str| stages.contains(&image) || image.parse::<u8>().is_ok();
            images.extend(from.filter(|image| !stage(image)).map(|image| (index + 1, image)));
        }
    }
    images
}

fn of_yaml(text: &str) -> Vec<(usize, &str)> {
    let image = |line| {
        let line: &str = line;
        let value = line.trim_start_matches([' ', '-']).strip_prefix("image:")?;
        let value = value.split(" #").next()?.trim().trim_matches(['"', '\'']);
        (!value.is_empty() && !is_own(value)).then_some(value)
    };
    let lines = text.lines().enumerate();
    lines.filter_map(|(index, line)| Some((index + 1, image(line)?))).collect()
}

/// `ch-4`, `ch-5-producer:0.1.0`, `ghcr.io/somebody/course/ch-8-consumer`.
fn is_own(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.strip_prefix("ch-").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// What is wrong with the version of `image`.
fn fault(image: &str) -> Option<&'static str> {
    if let Some((_, digest)) = image.split_once("@sha256:") {
        let whole = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        return (!whole).then_some("whose digest is not whole");
    }
    if image.contains('$') {
        return Some("whose version stands elsewhere");
    }
    // A colon before the last slash is that of the registry's port.
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None => Some("without a version, which is the latest one"),
        Some((_, "latest")) => Some("whichever is the latest"),
        Some((_, tag)) if !is_exact(tag) => Some("which moves on within its version"),
        Some(_) => None,
    }
}

/// At least `major.minor`: `1.95-bookworm`, `5.0.5`, `v25.1.1`.
fn is_exact(tag: &str) -> bool {
    let mut numbers = tag.trim_start_matches('v').split(['.', '-']);
    let mut number = || {
        let digits = numbers.next().unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    number() && number()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str, text: &str) -> Vec<String> {
        let mut chapter = Chapter::nothing();
        let content = Content::from(text.as_bytes().to_vec());
        chapter.files.insert(path.to_owned(), content);
        check(&chapter).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn exact_versions_stages_and_own_images_are_fine() {
        let text = "FROM --platform=linux/amd64 rust:1.95-bookworm AS build\nfrom build as second\nFROM scratch\n\
            COPY --from=build /app /app\nCOPY --from=0 /a /b\nCOPY --chown=1:1 --from=alpine:3.22.1 /c /d\n";
        assert_eq!(seen("Dockerfile", text), Vec::<String>::new());
        let text = "image: cassandra:5.0.5\n  - image: \"ghcr.io/a/b/ch-8-consumer\" # ours\n    image: ch-4\nimages: x\n";
        assert_eq!(seen("docker-compose.yml", text), Vec::<String>::new());
        let digest = format!("FROM rust@sha256:{}\n", "0a".repeat(32));
        assert_eq!(seen("Dockerfile", &digest), Vec::<String>::new());
    }

    #[test]
    fn a_base_that_may_change_is_named_with_its_line() {
        let expected = "ch-0/Dockerfile:2: takes the image `rust:latest`, whichever is the latest: \
            name one version, as in `cassandra:5.0.5`";
        assert_eq!(seen("Dockerfile", "# A base.\nFROM rust:latest\n"), [expected]);
        for image in [
            "rust",
            "rust:1",
            "rust:bookworm",
            "rust:1-bookworm",
            "rust:${VERSION}",
            "$BASE",
            "registry:5000/rust",
            "rust@sha256:0a",
        ] {
            assert_eq!(seen("Dockerfile", &format!("FROM {image} AS a\n")).len(), 1, "{image}");
            assert_eq!(seen("k8s/a.yaml", &format!("  - image: {image}\n")).len(), 1, "{image}");
        }
        assert_eq!(seen("Dockerfile", "FROM scratch\nCOPY --from=alpine / /\n").len(), 1);
    }
}
