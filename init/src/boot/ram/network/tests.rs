use super::*;

fn card(index: u32, name: &str, is_up: bool, has_carrier: bool) -> Change {
    Change::Link(Link { index, name: name.into(), is_card: true, is_up, has_carrier })
}

/// Takes all actions that are due.
fn acts(watch: &mut Watch, now: u64) -> Vec<Act> {
    std::iter::from_fn(|| watch.next(Duration::from_secs(now))).collect()
}

/// Lets the watch see a change, and checks what is due then.
#[track_caller]
fn sees(watch: &mut Watch, now: u64, change: Change, due: &[Act]) {
    watch.see(change);
    assert_eq!(acts(watch, now), due);
}

/// Lets a process end, and checks what is due then.
#[track_caller]
fn ends(watch: &mut Watch, now: u64, process: u32, due: &[Act]) {
    watch.ended(process, seconds(now));
    assert_eq!(acts(watch, now), due);
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ask(index: u32, name: &str) -> Act {
    Act::Ask(index, name.into())
}

fn clear(index: u32, name: &str) -> Act {
    Act::Clear(index, name.into())
}

/// Returns a watch with one interface that process 10 asks on.
fn asking() -> Watch {
    let mut watch = Watch::default();
    sees(&mut watch, 0, card(2, "eth0", true, true), &[ask(2, "eth0")]);
    watch.started(2, Some(10), seconds(0));
    watch
}

#[test]
fn it_is_asked_while_somebody_is_there() {
    let mut watch = Watch::default();
    watch.see(card(2, "eth0", false, false));
    sees(&mut watch, 0, card(3, "eth1", false, false), &[Act::BringUp("eth0".into()), Act::BringUp("eth1".into())]);
    watch.see(card(2, "eth0", true, false));
    sees(&mut watch, 0, card(3, "eth1", true, true), &[ask(3, "eth1")]);
    watch.started(3, Some(10), seconds(0));
    sees(&mut watch, 1, card(2, "eth0", true, true), &[ask(2, "eth0")]);
    watch.started(2, Some(11), seconds(1));
    watch.see(card(2, "eth0", true, true));
    assert_eq!((acts(&mut watch, 1), watch.due()), (vec![], None));

    // The wire is pulled: first what asks ends, then what it set goes, and only then it may be asked again.
    sees(&mut watch, 2, card(2, "eth0", true, false), &[Act::Stop(11)]);
    sees(&mut watch, 2, card(2, "eth0", true, true), &[]);
    ends(&mut watch, 3, 11, &[clear(2, "eth0")]);
    watch.started(2, Some(12), seconds(3));
    assert_eq!(acts(&mut watch, 3), []);
    ends(&mut watch, 4, 12, &[ask(2, "eth0")]);
}

#[test]
fn what_somebody_switched_off_stays_off() {
    // Process 1 may have switched it on before anybody listened.
    for (was_up, first) in [(false, vec![Act::BringUp("eth0".into())]), (true, vec![])] {
        let mut watch = Watch::default();
        sees(&mut watch, 0, card(2, "eth0", was_up, false), &first);
        sees(&mut watch, 0, card(2, "eth0", true, true), &[ask(2, "eth0")]);
        watch.started(2, Some(10), seconds(0));
        sees(&mut watch, 1, card(2, "eth0", false, false), &[Act::Stop(10)]);
        ends(&mut watch, 1, 10, &[clear(2, "eth0")]);
        watch.started(2, Some(11), seconds(1));
        watch.ended(11, seconds(1));
        assert_eq!((acts(&mut watch, 9), watch.due()), (vec![], None));
    }
}

#[test]
fn what_ends_by_itself_is_started_again_after_a_pause() {
    let mut watch = asking();
    ends(&mut watch, 20, 10, &[clear(2, "eth0")]);
    watch.started(2, Some(11), seconds(20));
    watch.ended(11, seconds(21));
    assert_eq!((acts(&mut watch, 24), watch.due()), (vec![], Some(seconds(25))));
    assert_eq!(acts(&mut watch, 25), [ask(2, "eth0")]);
    // What would not start at all has to wait as well.
    watch.started(2, None, seconds(25));
    assert_eq!((acts(&mut watch, 26), watch.due()), (vec![], Some(seconds(30))));
    // A wire that is pulled and put back ends the pause.
    watch.see(card(2, "eth0", true, false));
    assert_eq!((acts(&mut watch, 26), watch.due()), (vec![], None));
    sees(&mut watch, 26, card(2, "eth0", true, true), &[ask(2, "eth0")]);
    watch.started(2, Some(12), seconds(26));
    // Without what clears, the rest goes on.
    sees(&mut watch, 27, card(2, "eth0", true, false), &[Act::Stop(12)]);
    ends(&mut watch, 27, 12, &[clear(2, "eth0")]);
    watch.started(2, None, seconds(27));
    sees(&mut watch, 27, card(2, "eth0", true, true), &[ask(2, "eth0")]);
}

#[test]
fn what_is_pulled_out_is_cleared_and_forgotten() {
    let mut watch = asking();
    sees(&mut watch, 1, Change::Gone(2), &[Act::Stop(10)]);
    ends(&mut watch, 1, 10, &[clear(2, "eth0")]);
    watch.started(2, Some(11), seconds(1));
    ends(&mut watch, 1, 11, &[]);
    assert!(watch.known.is_empty());
    watch.see(Change::Gone(2));
    assert!(watch.known.is_empty());
}

#[test]
fn another_name_or_a_master_ends_it() {
    let mut watch = asking();
    sees(&mut watch, 1, card(2, "wan", true, true), &[Act::Stop(10)]);
    ends(&mut watch, 1, 10, &[clear(2, "eth0")]);
    watch.started(2, Some(11), seconds(1));
    ends(&mut watch, 1, 11, &[ask(2, "wan")]);
    watch.started(2, Some(12), seconds(1));
    sees(
        &mut watch,
        1,
        Change::Link(Link { index: 2, name: "wan".into(), is_card: false, is_up: true, has_carrier: true }),
        &[Act::Stop(12)],
    );
}

#[test]
fn what_is_not_told_again_is_gone() {
    let mut watch = asking();
    watch.see(card(3, "eth1", true, false));
    sees(&mut watch, 1, Change::Listed, &[]);
    watch.see(Change::Lost);
    sees(&mut watch, 1, card(3, "eth1", true, true), &[ask(3, "eth1")]);
    sees(&mut watch, 1, Change::Listed, &[Act::Stop(10)]);
}
