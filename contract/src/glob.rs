//! Shell patterns as `modules.alias` has them: `*`, `?` and `[…]`. Pure.

/// Returns true if `text` fits `pattern` (fnmatch(3) without flags).
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on from when what follows the last star does not fit: the pattern behind it, and one byte further in the text.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (pattern, text) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                again = Some((rest, text));
                Some((rest, text))
            }
            ([b'[', rest @ ..], [byte, after @ ..]) => match class(rest, *byte) {
                Some((true, rest)) => Some((rest, after)),
                Some((false, _)) => None,
                None => (*byte == b'[').then_some((rest, after)),
            },
            ([wanted, rest @ ..], [byte, after @ ..]) if *wanted == b'?' || wanted == byte => Some((rest, after)),
            _ => None,
        };
        match (step, again) {
            (Some(next), _) => (pattern, text) = next,
            (None, Some((rest, [_, later @ ..]))) => {
                again = Some((rest, later));
                (pattern, text) = (rest, later);
            }
            (None, _) => return false,
        }
    }
}

/// Reads a class behind its `[`: whether `byte` is in it, and what follows its `]`. None where it never ends.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    let mut first = true;
    loop {
        match rest {
            [] => return None,
            [b']', after @ ..] if !first => return Some((found != negated, after)),
            [low, b'-', high, after @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                rest = after;
            }
            [one, after @ ..] => {
                found |= *one == byte;
                rest = after;
            }
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", true),
            ("pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00008086d00001237sv00001AF4sd00001100bc06sc00i00", false),
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", true),
            ("usb:v0421p0019d059[2-9]dc*", "usb:v0421p0019d0595dc00", true),
            ("usb:v0421p0019d059[2-9]dc*", "usb:v0421p0019d0591dc00", false),
            ("a[!b]c", "axc", true),
            ("a[!b]c", "abc", false),
            ("a[]x]c", "a]c", true),
            ("a[b", "a[b", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("of:N*T*Cbrcm,bcm2835-sdhost", "of:NmmcT(null)Cbrcm,bcm2835-sdhost", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = "*a".repeat(64);
        assert!(!matches(&format!("{pattern}b"), &"a".repeat(2000)));
    }
}
