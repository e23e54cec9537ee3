//! The wikis with their shares: the three that were measured, and some 300 more with a tail.

pub struct Wiki {
    pub domain: String,
    /// `https://…`
    pub url: String,
    /// `,"server_url":…,"wiki":…,"parsedcomment":"`, the same in each event of the wiki.
    pub tail: Vec<u8>,
}

/// The three that were measured: parts in ten thousand. The others share the rest, the earlier the more.
const MEASURED: [(&str, &str, usize); 3] = [
    ("commons.wikimedia.org", "commonswiki", 4250),
    ("www.wikidata.org", "wikidatawiki", 1650),
    ("en.wikipedia.org", "enwiki", 910),
];
pub const COMMONS: usize = 0;
pub const WIKIDATA: usize = 1;

const LANGUAGES: &str = "de fr ja ru es zh it pl pt ar fa uk nl he id sv cs tr ko vi hu fi ca no el sr ro da bg hy az th eu \
    et sk lt hr sl simple hi bn ta te ml mr ur arz ka kk lv mk ms be gl sq bs uz cy af sw is nn lb ast la mn my ky tg ku yi \
    oc br ga scn war ceb min jv su tl eo tt ba cv os sah ckb pnb ps sd ne si km lo am so yo ig ha zu xh";

/// 300 and some wikis, and 10,000 slots that each hold a wiki's index, so that drawing one is one look-up.
pub fn wikis() -> (Vec<Wiki>, Vec<u16>) {
    let mut list: Vec<(String, String)> =
        MEASURED.iter().map(|&(domain, name, _)| (domain.to_owned(), name.to_owned())).collect();
    let plain = ["wikipedia", "wiktionary", "wikisource"];
    for (project, suffix) in plain.into_iter().zip(["wiki", "wiktionary", "wikisource"]) {
        list.extend(
            LANGUAGES
                .split_whitespace()
                .map(|code| (format!("{code}.{project}.org"), format!("{code}{suffix}"))),
        );
    }
    for (domain, name) in
        [("meta.wikimedia.org", "metawiki"), ("www.mediawiki.org", "mediawikiwiki")]
    {
        list.push((domain.to_owned(), name.to_owned()));
    }

    let mut slots: Vec<u16> = Vec::with_capacity(10_000);
    for (index, &(_, _, share)) in MEASURED.iter().enumerate() {
        slots.resize(slots.len() + share, index as u16);
    }
    let rest = (10_000 - slots.len()) as f64;
    let others = list.len() - MEASURED.len();
    let harmonic: f64 = (1..=others).map(|rank| 1.0 / rank as f64).sum();
    let mut reached = 0.0;
    for rank in 1..=others {
        reached += rest / rank as f64 / harmonic;
        let end = 10_000 - (rest - reached).round().max(0.0) as usize;
        slots.resize(end.max(slots.len()), (MEASURED.len() + rank - 1) as u16);
    }

    let wikis = list.into_iter().map(|(domain, name)| {
        let url = format!("https://{domain}");
        let tail = format!(
            r#","server_url":"{url}","server_name":"{domain}","server_script_path":"/w","wiki":"{name}","parsedcomment":""#
        );
        Wiki { domain, url, tail: tail.into_bytes() }
    });
    (wikis.collect(), slots)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_wiki_has_a_share() {
        let (wikis, slots) = wikis();
        let drawn: HashSet<_> = slots.iter().collect();
        assert_eq!(
            (slots.len(), wikis.len() > 300, drawn.len() * 10 > wikis.len() * 9),
            (10_000, true, true)
        );
        let domains: HashSet<_> = wikis.iter().map(|wiki| &wiki.domain).collect();
        assert_eq!(domains.len(), wikis.len());
    }
}
