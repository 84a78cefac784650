//! The tables of error messages of com_err (`*.et`), made into C as its own `compile_et` does, which is a script for awk.

use std::{fmt::Write, fs, path::Path};

use base::IoContext;

use crate::{Error, Result};

/// Writes `NAME.c` and `NAME.h` for the table `NAME.et` at `table`, into the directories of `c` and `h`.
///
/// # Errors
/// [`Error::WrongFile`] where it is no such table.
pub fn compile(table: &Path, c: &Path, h: &Path) -> Result<()> {
    let text = fs::read_to_string(table).at("read", table)?;
    let parsed = Table::parse(&text)
        .ok_or_else(|| Error::WrongFile { path: table.to_owned(), reason: "it is not a table of errors".to_owned() })?;
    fs::write(c, parsed.code()).at("write", c)?;
    fs::write(h, parsed.header()).at("write", h)?;
    Ok(())
}

/// A table of errors.
#[derive(Debug, PartialEq, Eq)]
struct Table<'a> {
    name: &'a str,
    /// Name and message of each error, the message as a C string with its quotes.
    errors: Vec<(&'a str, &'a str)>,
}

impl<'a> Table<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut name = None;
        let mut errors = Vec::new();
        let mut pending = None;
        for line in text.lines().map(str::trim) {
            let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            match (word, pending) {
                ("error_table", _) => name = Some(rest.trim()),
                ("ec" | "error_code", _) => {
                    let (code, message) = rest.split_once(',')?;
                    match message.trim() {
                        "" => pending = Some(code.trim()),
                        message => errors.push((code.trim(), message)),
                    }
                }
                (_, Some(code)) if line.starts_with('"') => {
                    errors.push((code, line));
                    pending = None;
                }
                _ => {}
            }
        }
        Some(Self { name: name?, errors })
    }

    /// Returns the number of its first error: the letters of its name, six bits each, and eight bits for the errors, as 32 bits with a sign
    /// (com_err's `error_table.h`, "ERRCODE_RANGE").
    fn base(&self) -> i32 {
        const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
        let number = self.name.chars().fold(0_u32, |number, letter| {
            let place = LETTERS.find(letter).and_then(|place| u32::try_from(place).ok()).map_or(0, |place| place + 1);
            number.wrapping_mul(64).wrapping_add(place)
        });
        number.wrapping_mul(256).cast_signed()
    }

    fn code(&self) -> String {
        let Self { name, errors } = self;
        let mut text = String::from("#include <stdlib.h>\n#include <et/com_err.h>\n");
        let _ = writeln!(text, "static const char *const text[] = {{");
        for (_, message) in errors {
            let _ = writeln!(text, "\t{message},");
        }
        let (base, count) = (self.base(), errors.len());
        let _ = write!(
            text,
            "\t0\n}};\nconst struct error_table et_{name}_error_table = {{ text, {base}L, {count} }};\n\
             struct et_list {{ struct et_list *next; const struct error_table *table; }};\n\
             extern struct et_list *_et_list;\n\
             static struct et_list link = {{ 0, 0 }};\n\
             void initialize_{name}_error_table(void) {{\n\
             \tstruct et_list **end = &_et_list;\n\
             \tfor (; *end; end = &(*end)->next)\n\t\tif ((*end)->table == &et_{name}_error_table) return;\n\
             \tlink.table = &et_{name}_error_table;\n\t*end = &link;\n}}\n"
        );
        text
    }

    fn header(&self) -> String {
        let Self { name, errors } = self;
        let mut text = String::from("#pragma once\n#include <et/com_err.h>\n");
        for (place, (code, _)) in (0..).zip(errors) {
            let _ = writeln!(text, "#define {code} ({}L)", i64::from(self.base()) + place);
        }
        let _ = write!(
            text,
            "extern const struct error_table et_{name}_error_table;\n\
             extern void initialize_{name}_error_table(void);\n\
             #define init_{name}_err_tbl initialize_{name}_error_table\n\
             #define {name}_err_base et_{name}_error_table.base\n\
             #define ERROR_TABLE_BASE_{name} ({}L)\n",
            self.base()
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_com_err() {
        let text = "# a comment\n\terror_table ext2\n\nec\tEXT2_ET_BASE,\n\t\"Version, 1\"\n\n\
                    error_code  SECOND,\t\"It's \\\"two\\\"\"\n\tend\n";
        let table = Table::parse(text).unwrap();
        assert_eq!(table.errors, [("EXT2_ET_BASE", "\"Version, 1\""), ("SECOND", "\"It's \\\"two\\\"\"")],);
        // e2fsprogs, lib/ext2fs/ext2_err.h as its own script makes it.
        assert_eq!(table.base(), 2_133_571_328);
        assert!(table.header().contains("#define SECOND (2133571329L)\n"), "{}", table.header());
        assert!(table.code().contains("{ text, 2133571328L, 2 }"), "{}", table.code());
        // lib/support/prof_err.h.
        assert_eq!(Table { name: "prof", errors: Vec::new() }.base(), -1_429_577_728);
        assert_eq!(Table::parse("nothing"), None);
    }
}
