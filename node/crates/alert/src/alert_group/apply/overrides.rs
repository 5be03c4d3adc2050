//! Who is on call instead of others.

use bellwether_model::Timestamp;

use crate::alert_group::command::{Limited, Outcome, Refusal, Reply};
use crate::alert_group::limits::AUTHOR_BYTES_MAX;
use crate::alert_group::state::TenantState;
use crate::notify::on_call::{OVERRIDES_MAX, Override};

impl TenantState {
    pub(super) fn set_override(&mut self, id: String, one: Override, now: Timestamp) -> Reply {
        let names = [id.as_str(), &one.schedule, &one.shift.user, &one.created_by];
        Refusal::check(Limited::AuthorBytes, names.iter().map(|name| name.len()).sum(), AUTHOR_BYTES_MAX)?;
        // Those that are over make room.
        self.overrides.0.retain(|_, known| known.shift.ends_at > now);
        let more = usize::from(!self.overrides.0.contains_key(&id));
        Refusal::check(Limited::Overrides, self.overrides.0.len() + more, OVERRIDES_MAX)?;
        self.overrides.0.insert(id, one);
        Ok(Outcome::Done)
    }
}
