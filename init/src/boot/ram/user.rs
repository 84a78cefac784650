//! The user and groups of a program: a name or a number becomes numbers, by the root's own `/etc/passwd` and `/etc/group` (passwd(5),
//! group(5)), as container engines do it. Pure.

use crate::kernel::supervisor::Identity;

use super::fault::Fault;

/// Returns the identity of `user` (`user`, `uid`, either with `:group` or `:gid`; root where it is empty) by the files `passwd` and `group`. A number
/// need not be in them; its group is then root's. Without a group of its own it is in all groups that name the user.
///
/// # Errors
/// [`Fault::Unknown`] for a name that is not in them.
pub fn identify(user: &str, passwd: &str, group: &str) -> Result<Identity, Fault> {
    let (user, of_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let mut entries = passwd.lines().filter_map(Entry::parse);
    let number: Option<u32> = user.parse().ok();
    // A name that is a number is a name first.
    let found =
        entries.clone().find(|entry| entry.name == user).or_else(|| entries.find(|entry| Some(entry.uid) == number));
    let mut identity = match (&found, number) {
        (Some(entry), _) => Identity { uid: entry.uid, gid: entry.gid, home: entry.home.into(), ..Identity::default() },
        (None, Some(uid)) => Identity { uid, ..Identity::default() },
        (None, None) => return Err(unknown("user", user, passwd)),
    };
    if identity.home.is_empty() {
        identity.home = "/".into();
    }
    match (of_group, found) {
        (Some(name), _) => {
            let listed =
                group.lines().filter_map(group_entry).find(|(known, ..)| *known == name).map(|(_, gid, _)| gid);
            identity.gid = listed.or_else(|| name.parse().ok()).ok_or_else(|| unknown("group", name, group))?;
        }
        (None, Some(entry)) => {
            let names = |members: &str| members.split(',').any(|member| member.trim() == entry.name);
            let listed = group.lines().filter_map(group_entry).filter(|(.., members)| names(members));
            identity.groups = listed.map(|(_, gid, _)| gid).collect();
        }
        (None, None) => {}
    }
    Ok(identity)
}

fn unknown(what: &'static str, name: &str, file: &str) -> Fault {
    const SHOWN: usize = 12;
    let names = file.lines().filter_map(|line| line.split(':').next()).filter(|name| !name.is_empty());
    Fault::Unknown { what, name: name.into(), known: names.take(SHOWN).map(String::from).collect() }
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34:www:/var/www:\nhome:x:40:40::\n77:x:5:6::/s:";
    const GROUP: &str = "root:x:0:root\nlog:x:4:web, other\nweb:x:34:\nweb2:x:35:notweb\naudio:x:29:web";

    #[test]
    fn users_and_groups() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, &[0][..], "/root"),
            ("root", 0, 0, &[0], "/root"),
            ("0", 0, 0, &[0], "/root"),
            ("web", 33, 34, &[4, 29], "/var/www"),
            ("33", 33, 34, &[4, 29], "/var/www"),
            ("web:log", 33, 4, &[], "/var/www"),
            ("web:99", 33, 99, &[], "/var/www"),
            ("web:", 33, 34, &[4, 29], "/var/www"),
            ("1000", 1000, 0, &[], "/"),
            ("1000:1001", 1000, 1001, &[], "/"),
            ("1000:audio", 1000, 29, &[], "/"),
            (":audio", 0, 29, &[], "/root"),
            ("home", 40, 40, &[], "/"),
            ("77", 5, 6, &[], "/s"),
        ] {
            let wanted = Identity { uid, gid, groups: groups.to_vec(), home: home.into(), ..Identity::default() };
            assert_eq!(identify(user, PASSWD, GROUP).unwrap(), wanted, "{user}");
        }
        assert_eq!(
            identify("1:2", "", "").unwrap(),
            Identity { uid: 1, gid: 2, home: "/".into(), ..Identity::default() }
        );
    }

    #[test]
    fn names_that_nobody_knows() {
        for (user, files, line) in [
            ("webb", (PASSWD, GROUP), "the root knows root, broken, web, home, 77"),
            ("web:nogroup", (PASSWD, GROUP), "the root knows root, log, web, web2, audio"),
            ("-1", ("", ""), "the root knows no user at all"),
            ("4294967296", ("", ""), "the root knows no user at all"),
            ("1:x", ("", ""), "the root knows no group at all"),
        ] {
            let fault = identify(user, files.0, files.1).unwrap_err();
            assert_eq!(fault.words().1, [line], "{user}");
        }
    }
}
