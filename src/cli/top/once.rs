//! One frame as plain text, for scripts and for whoever wants no screen.

use std::time::{Duration, Instant};

use anyhow::Result;
use comfy_table::Cell;
use tokio::time::{sleep_until, timeout_at};
use weft_proto::v1;

use super::HEADERS;
use super::draw::header;
use super::flows::Flows;
use super::model::{self, Model, Wanted};
use super::sheet::{self, heads};
use super::state::{State, Tab};
use crate::cli::client::{Client, answer};
use crate::cli::style::{Style, number, toned};

/// Looks twice, `every` apart, and returns the node's line and the table: rates need two looks.
pub(super) async fn frame(client: &mut Client, every: Duration, tab: Tab, style: Style) -> Result<String> {
    let (mut model, mut flows) = (Model::default(), Flows::default());
    let end = Instant::now() + every;
    model.take(model::ask(client, Wanted::of(tab)).await?, Instant::now());
    if tab == Tab::Flows {
        let request = v1::CaptureRequest { snap_len: HEADERS, ..v1::CaptureRequest::default() };
        let mut frames = answer(client.capture(request).await)?;
        flows.turn(Instant::now());
        while let Ok(batch) = timeout_at(end.into(), frames.message()).await {
            match batch? {
                Some(batch) => flows.take(&batch),
                None => break,
            }
        }
        flows.turn(Instant::now());
    }
    sleep_until(end.into()).await;
    model.take(model::ask(client, Wanted::of(tab)).await?, Instant::now());
    Ok(text(&model, &flows, tab, style))
}

fn text(model: &Model, flows: &Flows, tab: Tab, style: Style) -> String {
    let heads = heads(tab);
    let names: Vec<_> = heads.iter().map(|head| head.name).collect();
    let cell = |(n, cell): (usize, &sheet::Cell)| -> Cell {
        if heads[n].number { number(&cell.text, cell.tone) } else { toned(&cell.text, cell.tone) }
    };
    let rows = sheet::rows(&State { tab, ..State::default() }, model, flows);
    let rows = rows.iter().map(|row| row.iter().enumerate().map(cell).collect());
    format!("{}\n\n{}", header(model), style.table(&names, rows))
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::model;
    use super::*;

    #[test]
    fn a_frame_is_the_node_and_the_table() {
        let text = text(&model(), &Flows::default(), Tab::Drops, Style::PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("node1 192.0.2.1"), "{text}");
        assert_eq!(lines[1..3], ["", "REASON        FRAMES   A SECOND"], "{text}");
        assert_eq!(lines[3..], ["storm_limit       25       10.0", "replay             0          0"], "{text}");
    }
}
