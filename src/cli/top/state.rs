//! What the user has chosen, and what keys change of it.

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sheet;

/// The tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Tab {
    /// The members, with their sessions and paths
    #[default]
    Nodes,
    /// Who is where
    Endpoints,
    /// Networks
    Networks,
    /// What passes, by its rate
    Flows,
    /// Frames dropped, by reason
    Drops,
    /// What happened
    Events,
}

impl Tab {
    /// In the order of their numbers.
    pub(super) const ALL: [Tab; 6] = [Tab::Nodes, Tab::Endpoints, Tab::Networks, Tab::Flows, Tab::Drops, Tab::Events];

    pub(super) fn name(self) -> &'static str {
        match self {
            Tab::Nodes => "Nodes",
            Tab::Endpoints => "Endpoints",
            Tab::Networks => "Networks",
            Tab::Flows => "Flows",
            Tab::Drops => "Drops",
            Tab::Events => "Events",
        }
    }
}

/// What a key comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Go on.
    Stay,
    /// The user has seen enough.
    Quit,
}

/// By which column a table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: usize,
    pub(super) falling: bool,
}

/// What is chosen.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tab: Tab,
    pub(super) orders: [Order; Tab::ALL.len()],
    /// Rows are shown that have each of its words.
    pub(super) filter: String,
    /// Keys write the filter.
    pub(super) editing: bool,
    /// Nothing new is asked for.
    pub(super) frozen: bool,
    pub(super) help: bool,
    /// Rows that lie above the screen. Drawing bounds it by the rows that there are, and says how many fit.
    pub(super) above: usize,
    /// Rows that fit.
    pub(super) fit: usize,
}

impl Default for State {
    fn default() -> Self {
        State {
            tab: Tab::default(),
            orders: Tab::ALL.map(sheet::order),
            filter: String::new(),
            editing: false,
            frozen: false,
            help: false,
            above: 0,
            fit: 1,
        }
    }
}

impl State {
    /// How the table is sorted.
    pub(super) fn order(&self) -> Order {
        self.orders[self.tab as usize]
    }

    /// Does what a key means.
    pub(super) fn press(&mut self, key: KeyEvent) -> Outcome {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Outcome::Quit;
        }
        if self.editing {
            // Alt and Control write nothing.
            if (key.modifiers - KeyModifiers::SHIFT).is_empty() {
                self.edit(key.code);
            }
            return Outcome::Stay;
        }
        if self.help {
            self.help = false;
            return Outcome::Stay;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Outcome::Quit,
            KeyCode::Char(digit @ '1'..='6') => self.choose(digit as usize - '1' as usize),
            KeyCode::Tab | KeyCode::Right => self.choose(self.tab as usize + 1),
            KeyCode::BackTab | KeyCode::Left => self.choose(self.tab as usize + Tab::ALL.len() - 1),
            KeyCode::Char('>') => self.sort(1),
            KeyCode::Char('<') => self.sort(sheet::heads(self.tab).len() - 1),
            KeyCode::Char('r') => self.orders[self.tab as usize].falling ^= true,
            KeyCode::Char(' ') => self.frozen ^= true,
            KeyCode::Char('/') => self.editing = true,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Down | KeyCode::Char('j') => self.above = self.above.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.above = self.above.saturating_sub(1),
            KeyCode::PageDown => self.above = self.above.saturating_add(self.fit),
            KeyCode::PageUp => self.above = self.above.saturating_sub(self.fit),
            KeyCode::Home => self.above = 0,
            KeyCode::End => self.above = usize::MAX,
            _ => {}
        }
        Outcome::Stay
    }

    fn edit(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => (self.editing, self.filter) = (false, String::new()),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.above = 0;
    }

    fn choose(&mut self, tab: usize) {
        (self.tab, self.above) = (Tab::ALL[tab % Tab::ALL.len()], 0);
    }

    fn sort(&mut self, step: usize) {
        let heads = sheet::heads(self.tab);
        let column = (self.order().column + step) % heads.len();
        self.orders[self.tab as usize] = Order { column, falling: heads[column].number };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(state: &mut State, keys: &[KeyCode]) -> Outcome {
        keys.iter().map(|code| state.press(KeyEvent::from(*code))).last().unwrap()
    }

    #[test]
    fn keys_lead_from_table_to_table_and_sort_them() {
        let mut state = State::default();
        typed(&mut state, &[KeyCode::Tab, KeyCode::Char('5')]);
        assert_eq!(state.tab, Tab::Drops);
        let first = state.order();
        typed(&mut state, &[KeyCode::Char('>'), KeyCode::Char('r')]);
        assert_ne!(state.order().column, first.column);
        typed(&mut state, &[KeyCode::Char('<')]);
        assert_eq!(state.order().column, first.column);
        typed(&mut state, &[KeyCode::Tab, KeyCode::Tab, KeyCode::BackTab]);
        assert_eq!(state.tab, Tab::Events);
    }

    #[test]
    fn a_filter_takes_letters_that_mean_something_else_outside_of_it() {
        let mut state = State::default();
        typed(&mut state, &[KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Char(' '), KeyCode::Char('2')]);
        assert_eq!((state.filter.as_str(), state.tab, state.frozen), ("q 2", Tab::Nodes, false));
        typed(&mut state, &[KeyCode::Backspace, KeyCode::Enter, KeyCode::Char(' ')]);
        assert_eq!((state.filter.as_str(), state.frozen), ("q ", true));
        typed(&mut state, &[KeyCode::Char('/'), KeyCode::Esc]);
        assert_eq!(state.filter, "");
        assert_eq!(typed(&mut state, &[KeyCode::Char('?'), KeyCode::Char('q')]), Outcome::Stay);
        assert_eq!(typed(&mut state, &[KeyCode::Char('q')]), Outcome::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        typed(&mut state, &[KeyCode::Char('/')]);
        assert_eq!(state.press(interrupt), Outcome::Quit);
    }
}
