//! Colours and columns, for people: what every command prints where standard output is a terminal.
//!
//! Elsewhere the same text goes out without colours, and scripts may rely on its lines.

use std::ffi::OsString;
use std::io::IsTerminal;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

/// How good or bad a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing is said of it.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// To be looked at.
    Doubt,
    /// Not as it should be.
    Bad,
    /// Of little weight.
    Faint,
}

impl Tone {
    /// Of a state's name: `alive`, `up` and the like.
    pub fn of(state: &str) -> Tone {
        match state {
            "alive" | "up" | "ok" => Tone::Good,
            "suspect" => Tone::Doubt,
            "dead" | "lost" | "ENDS" => Tone::Bad,
            "left" => Tone::Faint,
            _ => Tone::Plain,
        }
    }

    /// Doubt where there is one.
    pub fn doubt(doubtful: bool) -> Tone {
        if doubtful { Tone::Doubt } else { Tone::Plain }
    }

    fn colour(self) -> Option<Color> {
        match self {
            Tone::Plain => None,
            Tone::Good => Some(Color::DarkGreen),
            Tone::Doubt => Some(Color::DarkYellow),
            Tone::Bad => Some(Color::DarkRed),
            Tone::Faint => Some(Color::DarkGrey),
        }
    }

    /// The code of the same colour (ECMA-48, "Select Graphic Rendition").
    fn code(self) -> Option<u8> {
        match self {
            Tone::Plain => None,
            Tone::Good => Some(32),
            Tone::Doubt => Some(33),
            Tone::Bad => Some(31),
            Tone::Faint => Some(90),
        }
    }
}

/// Whether what is printed has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// It has.
    pub coloured: bool,
}

impl Style {
    /// Without colours.
    pub const PLAIN: Style = Style { coloured: false };

    /// What standard output is to have: colours on a terminal that knows them. `NO_COLOR` and `CLICOLOR=0` forbid them,
    /// `CLICOLOR_FORCE` has them anywhere (<https://no-color.org>, <https://bixense.com/clicolors>).
    pub fn of_stdout() -> Style {
        Style { coloured: wanted(std::io::stdout().is_terminal(), |name| std::env::var_os(name)) }
    }

    /// The text in its colour.
    pub fn paint(self, text: &str, tone: Tone) -> String {
        match tone.code() {
            Some(code) if self.coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    /// Rows under a head, in aligned columns, without trailing blanks.
    pub(crate) fn table(self, head: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
        let mut table = Table::new();
        table.set_header(head.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold))).add_rows(rows);
        self.lines(table)
    }

    /// Names and values, one to a line.
    pub(crate) fn pairs<const N: usize>(self, rows: [(&str, Cell); N]) -> String {
        let mut table = Table::new();
        table.add_rows(rows.map(|(name, value)| [toned(name, Tone::Faint), value]));
        self.lines(table)
    }

    fn lines(self, mut table: Table) -> String {
        table.load_preset(presets::NOTHING).style_text_only();
        if self.coloured {
            table.enforce_styling()
        } else {
            table.force_no_tty()
        };
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

fn wanted(terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let value = |name| variable(name).filter(|value| !value.is_empty());
    let is_zero = |value: OsString| value == "0";
    if value("NO_COLOR").is_some() {
        return false;
    }
    if value("CLICOLOR_FORCE").is_some_and(|value| !is_zero(value)) {
        return true;
    }
    terminal && !value("CLICOLOR").is_some_and(is_zero) && value("TERM").is_some_and(|term| term != "dumb")
}

/// A value of a table, in its colour.
pub(crate) fn toned(value: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(value);
    match tone.colour() {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

/// A number of a table: at the right edge of its column.
pub(crate) fn number(value: impl ToString, tone: Tone) -> Cell {
    toned(value, tone).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(terminal: bool, variables: &[(&str, &str)]) -> bool {
        wanted(terminal, |name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn colours_are_for_terminals_that_know_them_and_for_whoever_insists() {
        let term = ("TERM", "xterm");
        assert!(with(true, &[term]) && !with(false, &[term]));
        assert!(!with(true, &[("TERM", "dumb")]) && !with(true, &[]));
        assert!(!with(true, &[term, ("NO_COLOR", "1")]) && with(true, &[term, ("NO_COLOR", "")]));
        assert!(!with(true, &[term, ("CLICOLOR", "0")]) && with(true, &[term, ("CLICOLOR", "1")]));
        assert!(with(false, &[("CLICOLOR_FORCE", "1")]) && !with(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!with(true, &[term, ("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    }

    #[test]
    fn colours_change_neither_columns_nor_what_is_said() {
        let table = |style: Style| {
            let row = |name: &str, state: &str| vec![Cell::new(name), toned(state, Tone::of(state)), Cell::new("1")];
            style.table(&["NAME", "STATE", "N"], [row("a", "alive"), row("long-name", "dead")])
        };
        let plain = table(Style::PLAIN);
        assert_eq!(plain, "NAME        STATE   N\na           alive   1\nlong-name   dead    1\n");
        let coloured = table(Style { coloured: true });
        assert!(coloured.contains("\u{1b}[38;5;1mdead\u{1b}[39m    1"), "{coloured:?}");
        // What a terminal would show.
        let mut shown = vt100::Parser::new(3, 40, 0);
        shown.process(coloured.replace('\n', "\r\n").trim_end().as_bytes());
        assert_eq!(shown.screen().contents(), plain.trim_end());
    }
}
