use super::*;

/// A box in memory.
struct Box(Vec<u8>);

impl Box {
    fn new() -> Self {
        Self(vec![FILL; SIZE])
    }

    fn survey(&self) -> (Survey, usize) {
        let mut heads = 0;
        let survey = survey(&mut |slot| {
            heads += 1;
            self.0[slot * SLOT..][..HEAD].to_vec()
        });
        (survey, heads)
    }

    fn keep(&mut self, ended: &Ended, log: &str) -> usize {
        let next = self.survey().0.next(ended.end);
        let bytes = encode(next, ended, "{}", "card", log);
        self.0[next.slot * SLOT..][..bytes.len()].copy_from_slice(&bytes);
        next.slot
    }
}

fn failed() -> Ended {
    Ended::failed(Code::ImageMissing, Step::Image)
}

#[test]
fn entries_are_read_as_they_are_written() {
    let mut all = Box::new();
    assert_eq!((read(&all.0), all.survey().0.since.len()), (Content::default(), 0));
    all.keep(&Ended::plain(End::Good), "");
    all.keep(&failed(), "line one\nline two\n");
    all.keep(&Ended::plain(End::Crashed), "Oops\n");
    let content = read(&all.0);
    let told: Vec<(u64, &str, &str)> =
        content.entries.iter().map(|entry| (entry.sequence, entry.ended.end.name(), entry.log.as_str())).collect();
    assert_eq!(told, [(3, "crashed", "Oops\n"), (2, "failed", "line one\nline two\n"), (1, "good", "")]);
    assert_eq!((content.entries[1].report.as_str(), content.entries[1].card.as_str()), ("{}", "card"));
    assert_eq!(content.entries[1].ended, failed());
    assert_eq!(all.survey().0.since, [failed(), Ended::plain(End::Crashed)]);
    all.keep(&Ended::plain(End::Good), "");
    let (survey, heads) = all.survey();
    // Both good ones, and the one that a failure would have taken.
    assert_eq!((survey.since.len(), heads), (0, 3));
}

#[test]
fn good_boots_do_not_push_failures_out() {
    let mut all = Box::new();
    for _ in 0..4 {
        all.keep(&failed(), "");
    }
    let slots: Vec<usize> = (0..20).map(|_| all.keep(&Ended::plain(End::Good), "")).collect();
    assert!(slots.iter().zip([0, 1].iter().cycle()).all(|(slot, wanted)| slot == wanted), "{slots:?}");
    let ends: Vec<End> = read(&all.0).entries.iter().map(|entry| entry.ended.end).collect();
    assert_eq!(ends, [vec![End::Good; 2], vec![End::Failed; 4]].concat());
    // The ring goes on behind them, round and round, and the newest six are known.
    let slots: Vec<usize> = (0..9).map(|_| all.keep(&failed(), "")).collect();
    assert_eq!(slots, [6, 7, 2, 3, 4, 5, 6, 7, 2]);
    assert_eq!(all.survey().0.since.len(), 6);
    let numbers: Vec<u64> = read(&all.0).entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(numbers, [33, 32, 31, 30, 29, 28, 24, 23]);
}

#[test]
fn a_torn_entry_costs_no_other() {
    for kept in [0, 7, HEAD, HEAD + 1, 512, 4096] {
        let mut all = Box::new();
        all.keep(&Ended::plain(End::Good), "");
        all.keep(&failed(), "old");
        let next = all.survey().0.next(End::Failed);
        let bytes = encode(next, &failed(), "{}", "card", &"new\n".repeat(2000));
        all.0[next.slot * SLOT..][..kept].copy_from_slice(&bytes[..kept]);
        let content = read(&all.0);
        let numbers: Vec<u64> = content.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!((numbers.as_slice(), content.torn), (&[2, 1][..], usize::from(kept > 0)), "{kept}");
        all.keep(&Ended::plain(End::Good), "");
        all.keep(&failed(), "newest");
        let content = read(&all.0);
        let newest = &content.entries[0];
        assert!(newest.log == "newest" && content.entries.len() == 4, "{kept}: {content:?}");
        assert_eq!(all.survey().0.since.len(), 1);
    }
}

#[test]
fn a_long_entry_fits() {
    let log: String = (0..9000).map(|line| format!("line {line}\n")).collect();
    for (report, is_kept) in [("r".repeat(SLOT / 2), true), ("r".repeat(SLOT), false)] {
        let next = Box::new().survey().0.next(End::Failed);
        let mut bytes = encode(next, &failed(), &report, &"c".repeat(SLOT), &log);
        assert_eq!(bytes.len(), SLOT);
        let entry = decode(&bytes).unwrap();
        assert_eq!((entry.report == report, entry.card.len()), (is_kept, SLOT / 4));
        assert!(entry.log.starts_with("line ") && entry.log.ends_with("line 8999\n"));
        bytes[SLOT - 1] ^= 1;
        assert!(decode(&bytes).is_some() == (entry.report.len() + entry.card.len() + entry.log.len() + HEAD < SLOT));
        bytes[HEAD] ^= 1;
        assert_eq!(decode(&bytes), None);
    }
}

#[test]
fn nothing_in_a_file_makes_reading_it_fail() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let mut all = Box::new();
    for _ in 0..3 {
        all.keep(&failed(), "log");
    }
    let good = all.0.clone();
    for _ in 0..2000 {
        all.0.clone_from(&good);
        for _ in 0..4 {
            // Heads with a right checksum as well: whoever made the medium may be hostile.
            let slot = 2 + usize::from(random() % 3);
            let at = usize::from(random()) % (HEAD - 4);
            all.0[slot * SLOT + at] = random();
            let sum = checksum(&all.0[slot * SLOT..][..HEAD - 4]);
            all.0[slot * SLOT + HEAD - 4..][..4].copy_from_slice(&sum.to_le_bytes());
        }
        let content = read(&all.0);
        let is_plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte.is_ascii_digit());
        assert!(content.entries.iter().all(|entry| is_plain(&entry.ended.code) && is_plain(&entry.ended.step)));
        let (survey, _) = all.survey();
        assert!(survey.since.len() <= 6 && survey.next(End::Failed).slot < SLOTS);
        encode(survey.next(End::Failed), &failed(), "", "", "");
    }
    for length in [0, 1, HEAD - 1, HEAD, SLOT + 5] {
        read(&good[..length]);
    }
}

#[test]
fn the_kernels_records_become_lines() {
    let records = "6,1,5,-;first\n SUBSYSTEM=block\n3,2,1234567,-;second;half\nodd\n";
    assert_eq!(kernel_log(records.as_bytes(), 100), "[    0.000005] first\n[    1.234567] second;half\n");
    assert_eq!(kernel_log(records.as_bytes(), 30), "[    1.234567] second;half\n");
}

#[test]
fn the_text_is_read_as_it_is_rendered() {
    let file = template();
    assert!(is_text(&file, 4096) && record(&file).is_none());
    for start in [512, 1024, 4096 - 512, 4096, 123 * 512] {
        let mut file = file.clone();
        let at = usize::try_from(window(start).unwrap()).unwrap();
        assert!(at >= 512 && (start as usize + at).is_multiple_of(4096) && at + WINDOW <= TEXT_SIZE);
        let log: String = (0..5000).map(|line| format!("[    1.0] log line {line}\u{1b}\n")).collect();
        let text = render("one\ntwo\n", &log);
        assert_eq!(text.len(), WINDOW);
        file[at..at + WINDOW].copy_from_slice(&text);
        let is_ours = |file: &[u8]| is_text(file, at as u64);
        assert!(is_ours(&file), "it can be overwritten again");
        let Some(Record::Whole(body)) = record(&file) else { panic!("it is torn") };
        assert!(body.starts_with("one\ntwo\n") && body.ends_with("log line 4999?\n"), "{body}");
        file[at + 200] ^= 1;
        assert_eq!(record(&file), Some(Record::Torn));
        file[at + 300] = 0;
        assert!(is_ours(&file), "a power cut may leave that");
        for place in [at - 1, at + WINDOW] {
            let mut other = file.clone();
            other[place] = 0;
            assert!(!is_ours(&other));
        }
    }
    for (other, at) in
        [(&file[1..], 4096), (b"", 4096), (&[b' '; TEXT_SIZE], 4096), (&file, u64::MAX), (&file, 1 << 15)]
    {
        assert!(!is_text(other, at));
    }
    assert_eq!(window(u64::MAX), None);
}

/// Returns a FAT filesystem whose root directory holds the file as number `entry`, in clusters of `cluster` bytes from number `first` on.
fn fat(is_fat32: bool, cluster: usize, entry: usize, first: u32) -> Vec<u8> {
    let sectors = 20_000_u32;
    let mut disk = vec![0; sectors as usize * 512];
    let table_sectors = if is_fat32 { 157_u16 } else { 79 };
    disk[11..13].copy_from_slice(&512_u16.to_le_bytes());
    disk[13] = (cluster / 512) as u8;
    disk[14..16].copy_from_slice(&32_u16.to_le_bytes());
    disk[16] = 2;
    disk[32..36].copy_from_slice(&sectors.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let root = (32 + 2 * usize::from(table_sectors)) * 512;
    if is_fat32 {
        disk[36..38].copy_from_slice(&table_sectors.to_le_bytes());
        disk[44] = 2;
        disk[32 * 512 + 8] = 3;
        disk[32 * 512 + 12..][..4].copy_from_slice(&0x0fff_ffff_u32.to_le_bytes());
    } else {
        disk[17..19].copy_from_slice(&512_u16.to_le_bytes());
        disk[22..24].copy_from_slice(&table_sectors.to_le_bytes());
    }
    for number in 0..=entry {
        let at = root + number * 32;
        disk[at..at + 11].copy_from_slice(if number == entry { NAME } else { b"OTHER   TXT" });
        disk[at + 26..at + 28].copy_from_slice(&(first as u16).to_le_bytes());
        disk[at + 28..at + 32].copy_from_slice(&(TEXT_SIZE as u32).to_le_bytes());
    }
    let count = TEXT_SIZE.div_ceil(cluster) as u32;
    for number in 0..count {
        let next = if number + 1 == count { u32::MAX } else { first + number + 1 };
        let (at, width) =
            (32 * 512 + (first + number) as usize * if is_fat32 { 4 } else { 2 }, if is_fat32 { 4 } else { 2 });
        disk[at..at + width].copy_from_slice(&next.to_le_bytes()[..width]);
    }
    disk
}

const NAME: &[u8; 11] = b"BLACKBOXTXT";

fn located(disk: &[u8]) -> Option<u64> {
    locate(&mut |offset, most| {
        let bytes = disk.get(usize::try_from(offset).unwrap()..)?;
        Some(bytes[..most.min(bytes.len())].to_vec())
    })
}

#[test]
fn the_text_is_found_on_a_filesystem() {
    for (is_fat32, entry, data) in
        [(false, 0, 32 + 158 + 32), (false, 300, 32 + 158 + 32), (true, 0, 32 + 314), (true, 20, 32 + 314)]
    {
        for cluster in [512_usize, 1024, 2048] {
            let disk = fat(is_fat32, cluster, entry, 100);
            assert_eq!(located(&disk), Some(data * 512 + 98 * cluster as u64), "{is_fat32} {entry} {cluster}");
        }
    }
}

#[test]
fn a_file_that_is_not_as_it_is_made_is_left_alone() {
    let good = fat(true, 512, 1, 100);
    let root = (32 + 314) * 512;
    let table = 32 * 512;
    let changes: [(&str, usize, &[u8]); 12] = [
        ("another size", root + 32 + 29, &[1]),
        ("a directory", root + 32 + 11, &[0x10]),
        ("a label", root + 32 + 11, &[8]),
        ("in pieces", table + 410, &[9]),
        ("longer than its size", table + (100 + 79) * 4, &[180, 0, 0, 0]),
        ("shorter than its size", table + 110 * 4, &[255, 255, 255, 15]),
        ("no such cluster", root + 32 + 20, &[1]),
        ("the root directory's cluster", root + 32 + 26, &[1]),
        ("no name", root + 32, &[0xe5]),
        ("no signature", 510, &[0]),
        ("odd sectors", 11, &[1]),
        ("a table that is too short", 36, &[1, 0]),
    ];
    for (what, at, bytes) in changes {
        let mut disk = good.clone();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(located(&disk), None, "{what}");
    }
    // A root directory whose clusters go round in a circle.
    let mut disk = fat(true, 512, 40, 100);
    disk[table + 12] = 2;
    assert_eq!(located(&disk), None);
    for length in [0, 511, 512, 4096, table + 8, root] {
        assert_eq!(located(&good[..length]), None, "{length}");
    }
}
