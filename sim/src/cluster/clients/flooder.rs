//! A client that writes without a pause while a node is to be flooded: together they send more than it may have in hand. What
//! it has no room for it must refuse at once and clearly, and what it acknowledges counts as ever.

use super::{Client, Phase};

impl Client {
    pub(super) async fn flood_on(mut self) {
        let mut flooded = self.shared.flooded.subscribe();
        loop {
            // An error means that the run is over.
            let Ok(node) = flooded.wait_for(Option::is_some).await.map(|node| *node) else { return };
            let Some(node) = node.filter(|_| *self.phase.borrow() == Phase::Work) else {
                self.pause().await;
                continue;
            };
            let writes = self.draw();
            if self.send(node, &writes).await {
                self.shared.acknowledged(&writes, false);
            } else {
                self.pause().await;
            }
        }
    }
}
