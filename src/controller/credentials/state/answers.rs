//! What was begun and has ended → what is known then: values, Secrets, the status, Pods that went, what is in the way.
//!
//! It begins nothing: the next look does.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::Secret;
use tokio::time::Instant;

use super::super::kept::Asking;
use super::super::material::Material;
use super::super::secret;
use super::super::writing::Done;
use super::State;
use crate::controller::apply::WriteError;
use crate::controller::lease::random;
use crate::controller::refusal::obstacle;
use crate::metrics::{Reconcile, SecretWrite};
use crate::names::SecretName;
use crate::plan::refresh::{Chance, backoff};
use crate::plan::secrets::{Action, Obstacle, Step};
use crate::status::Shard;

impl State {
    /// Something that was begun has ended.
    pub(in super::super) fn done(&mut self, done: Done, now: SystemTime) {
        // Of a write it depends on what was there before.
        self.has_news |= !matches!(done, Done::Written { .. });
        match done {
            Done::Asked {
                name,
                source,
                result,
            } => {
                let Some(kept) = self.kept.get_mut(&name) else {
                    return;
                };
                let failures = match kept.asking {
                    Asking::Asked { failures } => failures,
                    // It was declared anew meanwhile.
                    Asking::Idle { .. } => return,
                };
                let Some(row) = kept.row.clone().filter(|row| row.source == source) else {
                    return;
                };
                let material = match result {
                    Ok(fetched) => Ok(Material::fetched(&fetched, source)),
                    Err(error) => Err(crate::cluster::explain::chain(&error)),
                };
                match material {
                    Ok(material) if !material.lifetime.is_over(now) => {
                        kept.asking = Asking::Idle {
                            failures: 0,
                            next: None,
                        };
                        self.set(&name, material);
                    }
                    other => {
                        let failures = failures.saturating_add(1);
                        let pause = backoff(failures, Chance::of(random()));
                        let next = now.checked_add(pause);
                        kept.asking = Asking::Idle { failures, next };
                        kept.lacks(now);
                        let over = "its source gave a value that had expired already; are the clocks right?";
                        let why = other.err().unwrap_or_else(|| over.to_owned());
                        self.tell.not_refreshed(&name, &row, &why);
                    }
                }
            }
            Done::Written { name, step, result } => self.written(&name, &step, result, now),
            Done::Announced { shard, result } => {
                let there = result.as_deref().ok();
                self.announced.written(shard, there, Instant::now());
                match result {
                    Ok(_) if shard == Shard::FIRST => self.mark_dirty(),
                    Ok(_) | Err(WriteError::NotLeading) => {}
                    Err(error) => {
                        self.metrics().reconcile_failed(Reconcile::Credentials);
                        let why = error.words();
                        tracing::warn!(config_map = %shard, why, "cannot write the status");
                    }
                }
            }
            Done::Released {
                pod,
                reason,
                result,
            } => self.releases.ended(pod, &reason, result, &self.tell),
            Done::MayRelease(result) => self.releases.answered(result, &self.tell),
            Done::Lost => {
                self.metrics().reconcile_failed(Reconcile::Credentials);
                tracing::error!("a task panicked; this is a bug in pullpass");
                self.lost(now);
            }
        }
    }

    /// Which task it was is not known: of all that is under way nothing is waited for any more.
    fn lost(&mut self, now: SystemTime) {
        let chance = Chance::of(random());
        for kept in self.kept.values_mut() {
            if let Asking::Asked { failures } = kept.asking {
                let failures = failures.saturating_add(1);
                let next = now.checked_add(backoff(failures, chance));
                kept.asking = Asking::Idle { failures, next };
            }
            kept.waits.lost(now, chance);
        }
        self.announced.lost(Instant::now());
        self.releases.lost();
        self.mark_dirty();
    }

    fn written(
        &mut self,
        name: &SecretName,
        step: &Step,
        result: Result<Option<Box<Secret>>, WriteError>,
        now: SystemTime,
    ) {
        let Some(kept) = self.kept.get_mut(name) else {
            return;
        };
        // Perhaps nothing is left of it, nor on its way.
        self.has_news |= kept.row.is_none();
        let namespace = &step.namespace;
        let done = match &step.action {
            Action::Create => SecretWrite::Created,
            Action::Replace { .. } => SecretWrite::Replaced,
            Action::Remove { .. } => SecretWrite::Removed,
        };
        let error = match result {
            Ok(secret) => {
                kept.waits.end(namespace);
                self.tell.metrics.secret_written(name.as_str(), done);
                if let Action::Remove { uid, .. } = &step.action {
                    self.has_news |= kept.removed(namespace, uid);
                } else if let Some(copy) = secret.as_deref().and_then(secret::copy) {
                    self.has_news |= kept.set(namespace, copy);
                }
                let done = done.as_str();
                tracing::debug!(credential = %name, namespace = %namespace, reason = %step.reason, done);
                kept.is_dirty = true;
                return;
            }
            Err(WriteError::NotLeading) => {
                kept.waits.end(namespace);
                kept.is_dirty = true;
                return;
            }
            Err(error) => error,
        };
        let (obstacle, asked) = obstacle(&error);
        let hindered = SecretWrite::Hindered(obstacle);
        self.tell.metrics.secret_written(name.as_str(), hindered);
        let chance = Chance::of(random());
        let is_news = kept.waits.fail(namespace, obstacle, asked, now, chance);
        kept.is_dirty = true;
        let is_routine = matches!(
            obstacle,
            Obstacle::Conflict | Obstacle::Terminating | Obstacle::Throttled
        );
        if !is_routine {
            self.tell.metrics.reconcile_failed(Reconcile::Credentials);
        }
        if is_news && !is_routine {
            self.tell.unwritten(name, namespace, obstacle, &error);
        }
    }
}
