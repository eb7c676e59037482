//! The cases that refuse each fault.

use super::Fault::{self, self as F};

/// Which case refuses which fault.
pub(super) const REFUSALS: &[(Fault, &str)] = &[
    (F::InventsAnEvent, "an_empty_outbox_gives_an_empty_claim"),
    (
        F::CommitsWhatIsDropped,
        "a_rolled_back_append_never_appears",
    ),
    (F::LosesHeaders, "an_event_comes_back_exactly"),
    (F::ChangesTheId, "an_event_comes_back_exactly"),
    (F::LosesTheType, "an_event_comes_back_exactly"),
    (F::CutsThePayload, "an_event_comes_back_exactly"),
    (F::LosesTheContentType, "an_event_comes_back_exactly"),
    (F::LosesTheKey, "an_event_comes_back_exactly"),
    (F::LosesTheToken, "an_event_comes_back_exactly"),
    (F::LosesWhenItWasMade, "an_event_comes_back_exactly"),
    (F::LosesWhenItIsDue, "an_event_comes_back_exactly"),
    (F::LosesHeadersOfADeadLetter, "an_event_comes_back_exactly"),
    (F::TakesDuplicates, "a_taken_id_or_token_is_a_duplicate"),
    (F::IgnoresTheLimit, "a_claim_is_bounded_and_exclusive"),
    (F::LeasesForNoTime, "a_claim_is_bounded_and_exclusive"),
    (F::LeasesForASecond, "a_lease_is_as_long_as_asked"),
    (F::LeasesForHalfAMinute, "a_lease_is_as_long_as_asked"),
    (F::ReversesTheOrder, "events_of_one_key_keep_their_order"),
    (F::LeasesForNoTime, "events_of_one_key_keep_their_order"),
    (F::LosesTheLastOfACommit, "concurrent_claims_are_disjoint"),
    (F::LeasesForNoTime, "concurrent_claims_are_disjoint"),
    (F::ClaimsInTwoSteps, "concurrent_claims_are_disjoint"),
    (
        F::LosesTheLastOfACommit,
        "concurrent_writers_are_delivered_once_and_in_order",
    ),
    (
        F::CommitsWhatIsDropped,
        "concurrent_writers_are_delivered_once_and_in_order",
    ),
    (
        F::TakesDuplicates,
        "a_token_is_taken_by_one_of_many_transactions",
    ),
    (
        F::TakesATokenInTwoSteps,
        "a_token_is_taken_by_one_of_many_transactions",
    ),
    (
        F::CallsADuplicateUnavailable,
        "a_token_is_taken_by_one_of_many_transactions",
    ),
    (
        F::QuarantineIsSeenInBoth,
        "a_quarantine_is_never_seen_half_done",
    ),
    (
        F::QuarantineIsSeenInNeither,
        "a_quarantine_is_never_seen_half_done",
    ),
    (
        F::SleepsThroughCommits,
        "a_wait_ends_when_another_handle_brings_work",
    ),
    (F::CannotWait, "a_wait_ends_when_another_handle_brings_work"),
    (
        F::WaitsForBystanders,
        "a_long_transaction_elsewhere_delays_no_claim",
    ),
    (
        F::KeepsItsCursorElsewhere,
        "a_restored_store_delivers_again_and_skips_nothing",
    ),
    (
        F::RestoresInDisorder,
        "a_restored_store_delivers_again_and_skips_nothing",
    ),
    (F::RetriesAtOnce, "a_retry_waits_and_its_key_waits_with_it"),
    (
        F::KeepsRetriesBack,
        "a_retry_waits_and_its_key_waits_with_it",
    ),
    (F::ChargesNoRetry, "a_retry_waits_and_its_key_waits_with_it"),
    (F::ChargesAReleaseToo, "a_release_charges_nothing"),
    (
        F::IgnoresDelays,
        "a_delayed_event_is_not_early_and_its_key_waits",
    ),
    (
        F::KeepsFreshEventsBack,
        "retries_do_not_starve_fresh_events",
    ),
    (F::KeepsRetriesBack, "fresh_events_do_not_starve_retries"),
    (F::SettlesLostClaims, "a_lost_claim_settles_nothing"),
    (
        F::IgnoresASettlementOfAnotherHandle,
        "a_claim_settled_through_another_handle_loses_no_event",
    ),
    (
        F::PublishesForAnotherHandle,
        "a_claim_settled_through_another_handle_loses_no_event",
    ),
    (
        F::LosesTheClaimForAnotherHandle,
        "a_claim_settled_through_another_handle_loses_no_event",
    ),
    (
        F::LosesALateClaim,
        "an_expired_claim_settles_unless_it_was_taken_over",
    ),
    (F::SettlesAnything, "a_settlement_is_of_exactly_its_claim"),
    (
        F::FlagsEveryLostEvent,
        "a_lost_worker_blames_only_a_lone_event",
    ),
    (
        F::FlagsNoLostEvent,
        "a_lost_worker_blames_only_a_lone_event",
    ),
    (F::CannotWait, "waiting_ends_when_there_is_work"),
    (F::ReportsNoBacklog, "the_backlog_counts_events"),
    (
        F::ReportsNoBacklog,
        "the_backlog_has_the_age_of_the_oldest_due_event",
    ),
    (
        F::AgesWhatIsNotDue,
        "the_backlog_has_the_age_of_the_oldest_due_event",
    ),
    (
        F::ForgetsTheAgeOfAClaim,
        "the_backlog_has_the_age_of_the_oldest_due_event",
    ),
    (
        F::ForgetsTheAgeOfAHold,
        "the_backlog_has_the_age_of_the_oldest_due_event",
    ),
    (
        F::AgesNoDeadLetter,
        "the_backlog_has_the_age_of_the_oldest_dead_letter",
    ),
    (
        F::CleansUpDeadLetters,
        "a_clean_up_removes_nothing_that_is_needed",
    ),
    (
        F::CleansUpWaitingEvents,
        "a_clean_up_removes_nothing_that_is_needed",
    ),
    (
        F::CleansUpClaims,
        "a_clean_up_removes_nothing_that_is_needed",
    ),
    (
        F::CleansUpWhatFailed,
        "a_clean_up_removes_nothing_that_is_needed",
    ),
    (
        F::CleansUpMoreThanAsked,
        "a_clean_up_removes_nothing_that_is_needed",
    ),
    (
        F::NeverDoneCleaningUp,
        "a_clean_up_removes_nothing_that_is_needed",
    ),
    (F::FreesTokens, "a_clean_up_removes_nothing_that_is_needed"),
    (
        F::RetriesAtOnce,
        "every_mix_of_outcomes_keeps_the_order_of_its_key",
    ),
    (
        F::ChargesNoRetry,
        "every_mix_of_outcomes_keeps_the_order_of_its_key",
    ),
    (
        F::ReversesTheOrder,
        "every_mix_of_outcomes_keeps_the_order_of_its_key",
    ),
    (
        F::HoldsAlways,
        "every_mix_of_outcomes_keeps_the_order_of_its_key",
    ),
    (F::IgnoresTheBytes, "a_claim_is_within_its_bytes"),
    (F::KeepsTheLargeBack, "a_claim_is_within_its_bytes"),
    (
        F::KeepsFreshEventsBack,
        "neither_starves_where_each_event_fills_a_claim",
    ),
    (
        F::KeepsRetriesBack,
        "neither_starves_where_each_event_fills_a_claim",
    ),
    (F::ExportsWithoutBound, "an_export_is_bounded_in_bytes"),
    (F::ExportsOnlyTheSmall, "an_export_is_bounded_in_bytes"),
    (F::ListsNoSizes, "an_export_is_bounded_in_bytes"),
    (
        F::LosesHeadersOfADeadLetter,
        "an_export_is_bounded_in_bytes",
    ),
    (
        F::ClaimsTheWholeKey,
        "a_key_with_many_events_does_not_delay_the_others",
    ),
    (F::OneClaimAtATime, "an_open_claim_leaves_work_to_others"),
    (
        F::RefusesAnEdit,
        "a_row_deleted_in_flight_costs_only_itself",
    ),
    (
        F::LosesTheClaimOfAnEdit,
        "a_row_deleted_in_flight_costs_only_itself",
    ),
    (
        F::BringsTheDeletedBack,
        "a_row_deleted_in_flight_costs_only_itself",
    ),
    (
        F::RefusesAnEdit,
        "a_kept_row_that_is_deleted_costs_only_itself",
    ),
    (
        F::BringsTheDeletedBack,
        "a_kept_row_that_is_deleted_costs_only_itself",
    ),
    (
        F::LosesTheClaimOfAnEdit,
        "a_kept_row_that_is_deleted_costs_only_itself",
    ),
    (F::StopsAtAnEdit, "a_claim_without_rows_settles"),
    (F::RefusesAnEdit, "a_claim_without_rows_settles"),
    (
        F::LosesWhatReplaces,
        "a_row_replaced_in_flight_is_delivered",
    ),
    (F::StopsAtAnEdit, "a_key_changed_in_flight_blocks_nothing"),
    (
        F::LosesTheClaimOfAnEdit,
        "a_key_changed_in_flight_blocks_nothing",
    ),
    (
        F::LosesAChangedKey,
        "a_key_changed_before_a_claim_loses_nothing",
    ),
    (F::ClaimsToHaveMoved, "quarantine_is_atomic_and_idempotent"),
    (F::MovesTwice, "quarantine_is_atomic_and_idempotent"),
    (
        F::FailsForAnUnknownId,
        "quarantine_is_atomic_and_idempotent",
    ),
    (F::LosesTheCount, "quarantine_is_atomic_and_idempotent"),
    (F::LosesTheError, "quarantine_is_atomic_and_idempotent"),
    (F::LosesWhenItFailed, "quarantine_is_atomic_and_idempotent"),
    (F::NeverBusy, "an_event_in_flight_is_busy"),
    (F::MovesEventsInFlight, "an_event_in_flight_is_busy"),
    (F::SettlesLostClaims, "an_event_in_flight_is_busy"),
    (F::MovesThePublished, "a_published_event_is_missing"),
    (F::QuarantinesThePublished, "a_published_event_is_missing"),
    (F::HoldsTheKey, "successors_are_claimed_after_a_quarantine"),
    (
        F::RetriesAtOnce,
        "successors_are_claimed_after_a_quarantine",
    ),
    (
        F::LosesTheReason,
        "a_dead_event_is_quarantined_with_its_reason",
    ),
    (F::SkipsADeadLetter, "pages_have_no_gaps_and_no_repeats"),
    (F::RepeatsADeadLetter, "pages_have_no_gaps_and_no_repeats"),
    (
        F::PurgesWhatItReplays,
        "a_replay_keeps_the_id_and_gives_a_new_budget",
    ),
    (
        F::ReplaysUnderANewId,
        "a_replay_keeps_the_id_and_gives_a_new_budget",
    ),
    (
        F::KeepsTheBudget,
        "a_replay_keeps_the_id_and_gives_a_new_budget",
    ),
    (
        F::ForgetsReplays,
        "a_replay_keeps_the_id_and_gives_a_new_budget",
    ),
    (
        F::ReplaysToTheFront,
        "a_replay_keeps_the_id_and_gives_a_new_budget",
    ),
    (
        F::MovesThePublished,
        "a_stale_entry_does_not_quarantine_a_replayed_event",
    ),
    (F::ReplaysWithoutBound, "replay_and_purge_are_bounded"),
    (F::PurgesWithoutBound, "replay_and_purge_are_bounded"),
    (F::ReplaysOnceOnly, "replay_and_purge_are_bounded"),
    (F::PurgesOnceOnly, "replay_and_purge_are_bounded"),
    (F::ReplaysTheNewest, "replay_and_purge_are_bounded"),
    (F::PurgesTheNewest, "replay_and_purge_are_bounded"),
    (F::PurgesWhatItReplays, "replay_and_purge_are_bounded"),
    (F::ListsTheSmallestGroups, "filters_and_statistics_agree"),
    (F::ListsAnyType, "filters_and_statistics_agree"),
    (F::ListsAnyId, "each_condition_of_a_filter_narrows"),
    (F::ListsAnyType, "each_condition_of_a_filter_narrows"),
    (F::ListsAnyKey, "each_condition_of_a_filter_narrows"),
    (F::ListsAnyError, "each_condition_of_a_filter_narrows"),
    (F::ListsAnyTime, "each_condition_of_a_filter_narrows"),
    (F::CountsAnyId, "each_condition_of_a_filter_narrows"),
    (F::CountsAnyType, "each_condition_of_a_filter_narrows"),
    (F::CountsAnyKey, "each_condition_of_a_filter_narrows"),
    (F::CountsAnyError, "each_condition_of_a_filter_narrows"),
    (F::CountsAnyTime, "each_condition_of_a_filter_narrows"),
    (
        F::TakesIdsForTheWholeFilter,
        "each_condition_of_a_filter_narrows",
    ),
    (
        F::FindsNothingBeforeATime,
        "each_condition_of_a_filter_narrows",
    ),
    (
        F::GroupsWithoutTheError,
        "each_condition_of_a_filter_narrows",
    ),
    (F::GroupsByErrorAlone, "each_condition_of_a_filter_narrows"),
    (
        F::OmitsTheErrorOfAGroup,
        "each_condition_of_a_filter_narrows",
    ),
    (
        F::OmitsTheOldestOfAGroup,
        "each_condition_of_a_filter_narrows",
    ),
    (
        F::OmitsTheNewestOfAGroup,
        "each_condition_of_a_filter_narrows",
    ),
    (F::ReplaysAnyId, "replay_and_purge_take_what_a_filter_lists"),
    (
        F::ReplaysAnyType,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (
        F::ReplaysAnyKey,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (
        F::ReplaysAnyError,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (
        F::ReplaysAnyTime,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (F::PurgesAnyId, "replay_and_purge_take_what_a_filter_lists"),
    (
        F::PurgesAnyType,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (F::PurgesAnyKey, "replay_and_purge_take_what_a_filter_lists"),
    (
        F::PurgesAnyError,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (
        F::PurgesAnyTime,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (
        F::TakesIdsForTheWholeFilter,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (
        F::FindsNothingBeforeATime,
        "replay_and_purge_take_what_a_filter_lists",
    ),
    (F::SkipsLateCommits, "a_late_commit_is_claimed"),
    (F::WaitsForOpenTransactions, "a_late_commit_is_claimed"),
    (F::StopsAfterALateRollback, "a_late_rollback_delays_nothing"),
    (F::CommitsWhatIsDropped, "a_late_rollback_delays_nothing"),
    (
        F::OrdersByAppend,
        "a_late_commit_comes_after_what_was_claimed",
    ),
    (
        F::OrdersByBeginning,
        "writers_that_take_turns_keep_their_order",
    ),
    (
        F::HoldsNothing,
        "successors_wait_for_a_dead_letter_of_their_key",
    ),
    (
        F::HoldsTheKey,
        "successors_wait_for_a_dead_letter_of_their_key",
    ),
    (F::HoldsAlways, "every_handle_keeps_a_hold"),
    (F::HoldsNothing, "every_mix_of_outcomes_keeps_a_hold"),
    (
        F::ForgetsTheHoldOfAMix,
        "every_mix_of_outcomes_keeps_a_hold",
    ),
    (
        F::HoldsWhatComesBefore,
        "every_mix_of_outcomes_keeps_a_hold",
    ),
    (F::ReplaysToTheEnd, "a_replay_goes_before_its_successors"),
    (F::KeepsWhatItPurges, "a_purge_unblocks_the_successors"),
    (F::HoldsNothing, "a_dead_event_holds_its_key"),
    (
        F::HoldsWhatComesBefore,
        "events_before_a_dead_letter_are_published",
    ),
    (
        F::HurriesOnReplay,
        "a_replay_keeps_the_time_of_an_earlier_retry",
    ),
    (F::HoldsNothing, "events_of_a_lost_claim_stay_blocked"),
    (F::NeverBusy, "an_event_that_was_never_claimed_is_busy"),
    (
        F::HoldsForAReplacedDeadLetter,
        "a_replaced_dead_letter_holds_nothing",
    ),
    (
        F::HoldsWhatComesBefore,
        "an_event_without_a_key_holds_nothing",
    ),
    (F::ClaimsForEverWhenDropped, "a_dropped_claim_loses_nothing"),
    (
        F::SettlesHalfWhenDropped,
        "a_dropped_settlement_is_applied_or_not",
    ),
    (
        F::ForgetsASettlementWhenDropped,
        "a_dropped_settlement_is_applied_or_not",
    ),
    (
        F::QuarantinesHalfWhenDropped,
        "a_dropped_quarantine_is_applied_or_not",
    ),
    (
        F::LosesEventsWhenDropped,
        "a_dropped_quarantine_is_applied_or_not",
    ),
    (
        F::LosesAReplayWhenDropped,
        "a_dropped_replay_or_purge_is_applied_or_not",
    ),
    (
        F::PurgesHalfWhenDropped,
        "a_dropped_replay_or_purge_is_applied_or_not",
    ),
    (F::StaysBusyWhenDropped, "a_dropped_look_changes_nothing"),
    (
        F::ClaimsForEverWhenDropped,
        "a_pass_dropped_anywhere_loses_nothing",
    ),
    (F::ReversesTheOrder, "a_pass_dropped_anywhere_loses_nothing"),
    (
        F::FlagsEveryLostEvent,
        "a_pass_dropped_anywhere_loses_nothing",
    ),
    (
        F::LosesEventsWhenDropped,
        "a_tick_dropped_anywhere_quarantines_once",
    ),
    (
        F::ClaimsToHaveMoved,
        "a_tick_dropped_anywhere_quarantines_once",
    ),
    (
        F::MovesThePublished,
        "two_replicas_in_any_order_quarantine_once",
    ),
    (F::LeasesForNoTime, "two_workers_in_any_order_deliver_all"),
    (F::SettlesLostClaims, "two_workers_in_any_order_deliver_all"),
    (F::ReversesTheOrder, "two_workers_in_any_order_deliver_all"),
    (
        F::NeverBusy,
        "a_worker_and_a_tick_in_any_order_lose_nothing",
    ),
    (
        F::MovesThePublished,
        "a_worker_and_a_tick_in_any_order_lose_nothing",
    ),
    (
        F::MovesEventsInFlight,
        "a_worker_and_a_tick_in_any_order_lose_nothing",
    ),
    (
        F::QuarantinesThePublished,
        "a_worker_and_a_tick_in_any_order_lose_nothing",
    ),
    (
        F::AppendsOutsideTheTransaction,
        "a_cut_append_is_committed_whole_or_not",
    ),
    (F::DeletesWhatItClaims, "a_cut_claim_loses_nothing"),
    (F::CallsACutInvalid, "a_cut_claim_loses_nothing"),
    (
        F::SettlesInTwoSteps,
        "a_cut_settlement_is_applied_whole_or_not",
    ),
    (
        F::QuarantinesOneByOne,
        "a_cut_quarantine_moves_all_or_nothing",
    ),
    (
        F::ReplaysInTwoSteps,
        "a_cut_replay_or_purge_loses_no_dead_letter",
    ),
    (F::StaysDownAfterACut, "a_cut_look_changes_nothing"),
    (F::StaysDownAfterACut, "a_cut_connection_is_replaced"),
    (
        F::ReleasesTheKept,
        "a_kept_event_frees_the_others_of_its_claim",
    ),
    (
        F::PublishesTheKept,
        "a_kept_event_frees_the_others_of_its_claim",
    ),
    (
        F::KeepsTheWholeClaim,
        "a_kept_event_frees_the_others_of_its_claim",
    ),
    (
        F::LetsSuccessorsPassTheKept,
        "a_kept_event_frees_the_others_of_its_claim",
    ),
    (F::ChargesAReleaseToo, "a_late_settlement_has_each_outcome"),
    (F::ChargesNoRetry, "a_late_settlement_has_each_outcome"),
    (F::RetriesAtOnce, "a_late_settlement_has_each_outcome"),
    (F::HoldsForNoTime, "a_late_settlement_has_each_outcome"),
    (F::LosesTheReason, "a_late_settlement_has_each_outcome"),
    (F::ReleasesTheKept, "a_kept_event_may_be_kept_again"),
    (
        F::SettlesAnything,
        "a_late_settlement_is_of_exactly_the_kept_events",
    ),
    (
        F::KeepsTheWholeClaim,
        "a_late_settlement_is_of_exactly_the_kept_events",
    ),
    (F::SettlesLostClaims, "a_kept_event_is_settled_once"),
    (
        F::SettlesLostClaims,
        "a_kept_event_that_was_taken_over_is_lost",
    ),
    (F::LeasesForEver, "a_kept_event_that_was_taken_over_is_lost"),
    (
        F::FlagsEveryLostEvent,
        "a_kept_event_is_blamed_if_it_was_claimed_alone",
    ),
    (
        F::FlagsNoLostEvent,
        "a_kept_event_is_blamed_if_it_was_claimed_alone",
    ),
    (
        F::SuspectsTheKept,
        "a_settled_kept_event_is_claimed_with_others",
    ),
    (
        F::LosesALateClaim,
        "a_late_settlement_is_applied_after_the_lease",
    ),
    (F::NeverBusy, "a_kept_event_is_busy"),
    (F::SettlesLostClaims, "a_kept_event_is_busy"),
    (F::LetsSuccessorsPassTheKept, "a_kept_event_is_busy"),
    (F::ReversesTheOrder, "kept_events_of_a_key_keep_their_order"),
    (F::RetriesAtOnce, "kept_events_of_a_key_keep_their_order"),
    (F::ReleasesTheKept, "a_kept_event_waits_for_those_before_it"),
    (
        F::LetsSuccessorsPassTheKept,
        "a_kept_event_waits_for_those_before_it",
    ),
    (
        F::IgnoresASettlementOfAnotherHandle,
        "a_kept_event_settled_through_another_handle_is_not_lost",
    ),
    (
        F::LosesTheClaimForAnotherHandle,
        "a_kept_event_settled_through_another_handle_is_not_lost",
    ),
    (F::ChargesAHold, "a_held_event_waits_with_its_key"),
    (F::HoldsForNoTime, "a_held_event_waits_with_its_key"),
    (F::HoldsUntilAResumption, "a_held_event_waits_with_its_key"),
    (F::ResumesNothing, "a_resumption_is_of_one_destination"),
    (
        F::ResumesEveryDestination,
        "a_resumption_is_of_one_destination",
    ),
    (F::CutsDestinations, "a_resumption_is_of_one_destination"),
    (
        F::IgnoresTheCaseOfDestinations,
        "a_resumption_is_of_one_destination",
    ),
    (F::ChargesAHold, "a_resumption_is_of_one_destination"),
    (
        F::CutsDestinations,
        "a_destination_that_is_not_allowed_is_refused",
    ),
    (
        F::CutsDestinationsThatAreTooLong,
        "a_destination_that_is_not_allowed_is_refused",
    ),
    (
        F::RemovesNulFromDestinations,
        "a_destination_that_is_not_allowed_is_refused",
    ),
    (F::HoldsEveryDelay, "a_resumption_leaves_other_waits_alone"),
    (F::ResumesWithoutBound, "a_resumption_is_bounded"),
    (F::ResumesByAge, "a_resumption_is_bounded"),
    (F::NeverDoneResuming, "a_resumption_is_bounded"),
    (F::SleepsThroughCommits, "a_wait_ends_at_a_resumption"),
    (F::CannotWait, "a_wait_ends_at_a_resumption"),
    (
        F::RetriesAtOnce,
        "an_event_held_behind_another_waits_for_it",
    ),
    (
        F::SettlesHalfWhenDropped,
        "a_dropped_settlement_that_keeps_is_applied_or_not",
    ),
    (
        F::StaysBusyWhenDropped,
        "a_dropped_resumption_resumes_whole_events",
    ),
    (
        F::SettlesInTwoSteps,
        "a_cut_settlement_that_keeps_is_applied_whole_or_not",
    ),
    (F::CallsACutInvalid, "a_cut_resumption_loses_nothing"),
    (
        F::ReversesTheOrder,
        "claims_in_flight_share_no_event_and_keep_their_order",
    ),
    (
        F::LeasesForNoTime,
        "claims_in_flight_share_no_event_and_keep_their_order",
    ),
    (
        F::ReleasesTheKept,
        "claims_in_flight_share_no_event_and_keep_their_order",
    ),
    (
        F::LetsSuccessorsPassTheKept,
        "claims_in_flight_share_no_event_and_keep_their_order",
    ),
    (
        F::PublishesTheKept,
        "claims_in_flight_share_no_event_and_keep_their_order",
    ),
];
