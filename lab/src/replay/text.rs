//! Small writers and readers for the generator and the cursor: random numbers from an index, integers, UUIDs, times.
//! Everything appends to one buffer, because the replay must outrun what it feeds.

/// SplitMix64: a stream of random numbers for each (seed, position), so that any position can be made again.
pub struct Random(u64);

impl Random {
    /// `lane` keeps the clock's numbers apart from the event's.
    pub fn at(seed: u64, position: u64, lane: u64) -> Self {
        let mut random = Self(seed ^ lane.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        random.0 = random.bits() ^ position.wrapping_mul(0x9FB2_1C65_1E98_DF25);
        random.0 = random.bits();
        random
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 … n − 1.
    pub fn below(&mut self, n: u64) -> u64 {
        ((self.bits() >> 32) * n) >> 32
    }

    /// True `n` times in ten thousand.
    pub fn chance(&mut self, n: u64) -> bool {
        self.below(10_000) < n
    }

    /// 0 ≤ u < 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

pub fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A version 4 UUID.
pub fn uuid(out: &mut Vec<u8>, high: u64, low: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = high & !0xF000 | 0x4000;
    let low = low & !(3 << 62) | (2 << 62);
    let mut text = [b'-'; 36];
    let mut at = 0;
    for half in [high, low] {
        for shift in (0..16).rev() {
            if matches!(at, 8 | 13 | 18 | 23) {
                at += 1;
            }
            text[at] = HEX[(half >> (4 * shift) & 15) as usize];
            at += 1;
        }
    }
    out.extend_from_slice(&text);
}

/// `2026-08-17T12:34:56.789Z`, from milliseconds since 1970.
pub fn time(out: &mut Vec<u8>, ms: u64) {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    // Howard Hinnant's civil_from_days, for days from 1970 on.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, width: usize, mut n: u64| {
        for i in (at..at + width).rev() {
            text[i] = b'0' + (n % 10) as u8;
            n /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, rest / 3_600_000);
    put(14, 2, rest / 60_000 % 60);
    put(17, 2, rest / 1000 % 60);
    put(20, 3, rest % 1000);
    out.extend_from_slice(&text);
}

/// ISO 8601 in the forms that people write: a date, or a date and a time with `Z`, an offset or neither (UTC).
pub fn parse_time(text: &str) -> Option<u64> {
    let digits = |part: &str, width: usize| {
        (part.len() == width && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i64>().ok())?
    };
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00Z"));
    let mut parts = date.split('-');
    let (year, month, day) =
        (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if parts.next().is_some() || !(1..=length).contains(&day) {
        return None;
    }

    let zone_at = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let offset_minutes = match zone.as_bytes().first() {
        None | Some(b'Z') if zone.len() <= 1 => 0,
        Some(sign @ (b'+' | b'-')) => {
            let (hours, minutes) =
                zone[1..].split_once(':').or_else(|| zone[1..].split_at_checked(2))?;
            let minutes =
                digits(hours, 2)? * 60 + if minutes.is_empty() { 0 } else { digits(minutes, 2)? };
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let (second, fraction) = parts
        .next()
        .map_or(Some(("00", "")), |part| Some(part.split_once('.').unwrap_or((part, "0"))))?;
    let second = digits(second, 2)?;
    let fraction = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<3.3}"), 3)? };
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }

    // Howard Hinnant's days_from_civil, for years from 0 on.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + (153 * m + 2) / 5
        + day
        - 719_469;
    let minutes = days * 1440 + hour * 60 + minute - offset_minutes;
    u64::try_from(minutes * 60_000 + second * 1000 + fraction).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_and_uuids_are_written_as_they_should_be() {
        for n in [0, 7, 10, 1_786_924_800_000, u64::MAX] {
            assert_eq!(written(|out| number(out, n)), n.to_string());
        }
        let id = written(|out| uuid(out, 0x0123_4567_89ab_cdef, u64::MAX));
        assert_eq!(id, "01234567-89ab-4def-bfff-ffffffffffff");
    }

    #[test]
    fn times_are_written_and_read_back() {
        assert_eq!(written(|out| time(out, 0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(|out| time(out, 951_782_400_001)), "2000-02-29T00:00:00.001Z");
        assert_eq!(written(|out| time(out, 1_786_969_755_042)), "2026-08-17T12:29:15.042Z");
        // A prime step, a bit over 11 days: every month, leap days, and all times of day.
        for ms in (0..4_000_000_000_000).step_by(999_999_937) {
            assert_eq!(parse_time(&written(|out| time(out, ms))), Some(ms));
        }
    }

    #[test]
    fn since_takes_the_usual_forms_and_no_others() {
        let noon = Some(1_786_968_000_000);
        for text in [
            "2026-08-17T12:00:00Z",
            "2026-08-17T12:00",
            "2026-08-17 14:00:00.000+02:00",
            "2026-08-17T11:00:00-0100",
        ] {
            assert_eq!(parse_time(text), noon, "{text}");
        }
        assert_eq!(parse_time("2026-08-17"), Some(1_786_924_800_000));
        assert_eq!(parse_time("2026-08-17T12:00:00.5Z"), Some(1_786_968_000_500));
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-08-17T25:00",
            "2026-08-17T12:00Zulu",
            "2026-8-1",
            "+026-01-01",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
