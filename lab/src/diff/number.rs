//! A chapter's own number, which is no difference to the chapter before.

/// The number of a package that is named `ch-N`.
pub fn of_package(manifest: &str) -> Option<u8> {
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"ch-"))?;
    name.strip_suffix('"')?.parse().ok()
}

/// The text with the chapter's own number replaced in `ch-N` and `ch_N`; 0 is no number. `batch-1` and `ch-12` do not
/// name chapter 1.
pub fn replaced(text: &str, from: u8, to: u8) -> String {
    if from == 0 || to == 0 {
        return text.to_owned();
    }
    let (digits, other) = (from.to_string(), to.to_string());
    let mut result = String::with_capacity(text.len());
    let mut copied = 0;
    for (start, _) in text.match_indices("ch") {
        let at = start + "ch-".len();
        let named = text[start + 2..].starts_with(['-', '_']) && text[at..].starts_with(&digits);
        if !named {
            continue;
        }
        let end = at + digits.len();
        let begins = !text[..start].ends_with(char::is_alphanumeric);
        let ends = !text[end..].starts_with(|next: char| next.is_ascii_digit());
        if begins && ends {
            result.push_str(&text[copied..at]);
            result.push_str(&other);
            copied = end;
        }
    }
    result.push_str(&text[copied..]);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_number_becomes_the_other_one() {
        let text = "ch-1 ch_1: /ch-1/x ch-12 batch-1 ch-2 in_ch_1 ch";
        let expected = "ch-7 ch_7: /ch-7/x ch-12 batch-1 ch-2 in_ch_7 ch";
        assert_eq!(replaced(text, 1, 7), expected);
        assert_eq!(replaced("é ch-", 1, 7), "é ch-");
        assert_eq!(replaced("ch-0 ch-1", 0, 7), "ch-0 ch-1");
        assert_eq!(replaced("ch-1", 1, 0), "ch-1");
    }

    #[test]
    fn number_is_that_of_the_package() {
        assert_eq!(of_package("[package]\nname = \"ch-3\"\n"), Some(3));
        assert_eq!(of_package("[package]\nname = \"mine\"\n"), None);
    }
}
