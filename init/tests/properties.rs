//! Properties for any input: readers of bytes from outside never panic, hang or use unbounded memory, and written data reads back.

use std::io::Write;

use contract::{
    glob,
    module_index::{Index, Module},
    parameters::words,
    superblock::Superblock,
    tag::Tag,
    text::{Size, is_tmpfs_size, nearest, parse_duration},
};
use initramfs_overlay_init::{
    boot::ram::network::Watch,
    config::{Abilities, Config, ModeConfig},
    kernel::rtnetlink::parse,
    modules::file,
};
use proptest::prelude::*;

/// Returns words as they stand in command lines: ours, nearly ours, and anything.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "rd\\.(img|boot|newimg|overlay|overlay\\.fallback|overlay\\.reset|image|timeout|newimg\\.timeout|onerror|break|x)=[ -~]{0,20}",
        1 => "(ro|rw|quiet|debug|--|init|panic)(=[ -~]{0,8})?",
        1 => "\\PC{0,30}",
    ]
}

/// Returns the pattern matcher one would write first: right, and slow on many stars.
fn matches_slowly(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| matches_slowly(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, after @ ..]) => matches_slowly(rest, after),
        ([one, rest @ ..], [byte, after @ ..]) if one == byte => matches_slowly(rest, after),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_command_line_gives_a_config(baked in prop::collection::vec(word(), 0..8), given in prop::collection::vec(word(), 0..8)) {
        for shell in [false, true] {
            let (config, _) = Config::parse([&baked.join(" "), &given.join(" "), ""], Abilities { shell, trust: false }, false);
            prop_assert!(config.common.init.starts_with('/'));
            if let ModeConfig::Overlay(own) = config.mode {
                prop_assert!(!own.image.is_empty() && !own.image.contains('/'));
            }
            prop_assert!(shell || config.common.breaks.is_empty());
        }
    }

    #[test]
    fn a_later_line_wins(first in "[a-z]{1,9}", second in "[a-z]{1,9}") {
        let (config, result) = Config::parse([&format!("rd.img=LABEL={first}"), &format!("rd.img=LABEL={second}"), ""], Abilities { shell: false, trust: false }, false);
        prop_assert!(result.is_ok());
        let img = match config.mode {
            ModeConfig::Overlay(own) => Some(own.img),
            _ => None,
        };
        prop_assert_eq!(img, Some(Tag::Label(second)));
    }

    #[test]
    fn quoted_words_come_back(all in prop::collection::vec("[a-z. =]{1,12}", 0..6)) {
        let line: Vec<String> = all.iter().map(|word| format!("\"{word}\"")).collect();
        prop_assert_eq!(words(&line.join(" ")), all);
    }

    #[test]
    fn patterns_match_as_the_simple_matcher_says(pattern in "[ab*?]{0,8}", text in "[abc]{0,12}") {
        prop_assert_eq!(glob::matches(&pattern, &text), matches_slowly(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn any_bytes_may_come_from_the_network_socket(
        head in prop::collection::vec((0_u32..80, prop::sample::select(vec![3_u16, 16, 17, 20])), 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        // Message heads that nearly fit, with anything behind them.
        let mut datagram = Vec::new();
        for (place, (length, kind)) in head.iter().enumerate() {
            datagram.extend(length.to_ne_bytes());
            datagram.extend(kind.to_ne_bytes());
            datagram.extend(bytes.iter().skip(place * 7).take(*length as usize));
        }
        let mut watch = Watch::default();
        for change in parse(&datagram).into_iter().chain(parse(&bytes)) {
            watch.see(change);
        }
        // Each interface asks for two things at most: to be brought up, and for an address.
        prop_assert!(std::iter::from_fn(|| watch.next(std::time::Duration::ZERO)).take(100).count() < 100);
    }

    #[test]
    fn any_pattern_ends(pattern in "\\PC{0,40}", text in "\\PC{0,80}") {
        glob::matches(&pattern, &text);
    }

    #[test]
    fn an_index_is_read_back(names in prop::collection::vec("[a-z0-9_]{1,10}", 0..6), always in any::<bool>()) {
        let modules = names.iter().enumerate().map(|(number, name)| Module {
            name: name.clone(),
            path: format!("kernel/{name}.ko"),
            needs: names[..number].to_vec(),
            post: Vec::new(),
            always,
            aliases: vec![format!("fs-{name}")],
        }).collect();
        let index = Index { modules };
        prop_assert_eq!(Index::parse(&index.to_string()), Ok(index));
    }

    #[test]
    fn any_bytes_may_be_an_index_a_superblock_or_a_module(bytes in prop::collection::vec(any::<u8>(), 0..1500), magic in 0..5_usize) {
        let mut bytes = bytes;
        let start: &[u8] = [&b""[..], b"hsqs", b"\x7fELF\x01\x01", b"\x7fELF\x02\x01", b""][magic];
        bytes.splice(..start.len().min(bytes.len()), start.iter().copied());
        if magic == 4 && bytes.len() > 1028 {
            bytes[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = Index::parse(&text);
        let _ = file::dependency_order(&text, "overlay");
        let _ = Superblock::read(&bytes);
        let _ = file::modinfo(&bytes, "vermagic");
    }

    #[test]
    fn figures_and_words(number in any::<u64>(), text in "\\PC{0,12}") {
        prop_assert!(Size(number).to_string().contains('B'));
        let _ = (parse_duration(&text), is_tmpfs_size(&text), text.parse::<Tag>());
        let _ = nearest(&text, &["rd.img", "rd.image"]);
    }
}

fn packed(suffix: &str, content: &[u8]) -> Vec<u8> {
    match suffix {
        ".gz" => {
            let mut writer = flate2::GzBuilder::new()
                .filename("a.ko")
                .comment("c")
                .extra(b"xy".to_vec())
                .write(Vec::new(), flate2::Compression::best());
            writer.write_all(content).unwrap();
            writer.finish().unwrap()
        }
        ".xz" => liblzma::encode_all(content, 6).unwrap(),
        _ => zstd::encode_all(content, 3).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packed_modules_are_unpacked(content in prop::collection::vec(0..4_u8, 0..20_000)) {
        for suffix in [".gz", ".xz", ".zst"] {
            let unpacked = file::decompress(&format!("a.ko{suffix}"), packed(suffix, &content)).unwrap();
            prop_assert!(unpacked == content, "{}", suffix);
        }
    }

    #[test]
    fn damaged_modules_are_refused_or_differ_in_nothing_but_content(
        content in prop::collection::vec(any::<u8>(), 1..3000), at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<bool>()
    ) {
        for suffix in [".gz", ".xz", ".zst"] {
            let mut bytes = packed(suffix, &content);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            let _ = file::decompress(&format!("a.ko{suffix}"), bytes);
        }
    }
}
