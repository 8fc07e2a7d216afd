//! How far another member's clock is off from this one's: asked when somebody wants to know, by a call of its own.
//!
//! Certificates begin and end by the clock, and of two writers of an object the later one wins: a clock that is off shows
//! in refused connections and in changes that do not last.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::timeout;
use tonic::{Request, Response, Status};
use weft_control::id::NodeId;
use weft_proto::v1;
use weft_proto::v1::clock_client::ClockClient;
use weft_proto::v1::clock_server::Clock;

use super::Membership;
use super::peers::CALL;

/// This node's clock, for other members.
pub(super) struct Teller;

#[tonic::async_trait]
impl Clock for Teller {
    async fn read(&self, _: Request<v1::ReadClockRequest>) -> Result<Response<v1::ReadClockResponse>, Status> {
        Ok(Response::new(v1::ReadClockResponse { unix_ms: unix_ms() }))
    }
}

impl Membership {
    /// By how many milliseconds a member's clock is ahead of this node's, to within half of the call's time.
    pub(super) async fn clock_offset(&self, node: NodeId) -> Result<i64, Status> {
        let asking = async {
            let mut client = ClockClient::new(self.channel(node).await?);
            let before = unix_ms();
            let theirs = client.read(v1::ReadClockRequest {}).await?.into_inner().unix_ms;
            Ok(offset(before, theirs, unix_ms()))
        };
        timeout(CALL, asking).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("it is slow")))
    }
}

/// Their clock was read in the middle between the two moments of ours.
fn offset(before: u64, theirs: u64, after: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(theirs).saturating_sub(signed(before.midpoint(after)))
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_towards_the_middle_of_the_call() {
        assert_eq!(offset(1_000, 1_050, 1_100), 0);
        assert_eq!(offset(1_000, 3_601_050, 1_100), 3_600_000);
        assert_eq!(offset(5_000_000, 1_400_000, 5_000_000), -3_600_000);
    }
}
