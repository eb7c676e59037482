//! The faults that each case refuses.

use super::Fault;

/// Which case refuses which fault.
pub(super) const REFUSALS: &[(Fault, &str)] = &[
    (Fault::AnswersNoEvent, "an_empty_call_is_answered_empty"),
    (Fault::AnswersTooFew, "every_event_is_answered_in_order"),
    (Fault::RefusesTheLast, "every_event_is_answered_in_order"),
    (Fault::DropsTheLast, "what_is_answered_ok_is_at_the_broker"),
    (Fault::LosesHeaders, "an_event_arrives_unchanged"),
    (Fault::LosesTheKey, "an_event_arrives_unchanged"),
    (Fault::ChangesTheType, "an_event_arrives_unchanged"),
    (Fault::ChangesWhenItWasMade, "an_event_arrives_unchanged"),
    (
        Fault::LosesLineBreaksInHeaders,
        "an_event_arrives_unchanged",
    ),
    (Fault::ChangesTheId, "an_event_arrives_unchanged"),
    (Fault::ChangesTheContentType, "an_event_arrives_unchanged"),
    (Fault::CutsThePayload, "an_event_arrives_unchanged"),
    (
        Fault::ReversesEachPair,
        "calls_one_after_another_keep_their_order",
    ),
    (Fault::LosesInAnInterleaving, "concurrent_calls_all_arrive"),
    (
        Fault::RejectsInAnOutage,
        "an_outage_is_unavailable_and_ends",
    ),
    (Fault::IsOkInAnOutage, "an_outage_is_unavailable_and_ends"),
    (Fault::NeverComesBack, "an_outage_is_unavailable_and_ends"),
    (
        Fault::AnswersNothingInAnOutage,
        "an_outage_is_unavailable_and_ends",
    ),
    (
        Fault::RejectsTheTooLarge,
        "a_too_large_event_is_permanent_and_its_neighbours_arrive",
    ),
    (
        Fault::FailsTheNeighbours,
        "a_too_large_event_is_permanent_and_its_neighbours_arrive",
    ),
    (
        Fault::AnswersInReverse,
        "a_too_large_event_is_permanent_and_its_neighbours_arrive",
    ),
    (
        Fault::ReversesACall,
        "events_of_one_key_in_a_call_keep_their_order",
    ),
    (
        Fault::AcceptsEventsAfterARefusedOne,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (
        Fault::AnswersOkAfterARefusedEvent,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (
        Fault::ResendsOneEventOfACall,
        "events_of_one_key_in_a_call_keep_their_order",
    ),
    (
        Fault::SendsTheRestWithoutARefusedFirstEvent,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (
        Fault::SendsWhatItAnswersAsRefused,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (
        Fault::SendsTheRestWithTheNextCall,
        "no_event_is_taken_after_a_refused_one_of_its_key",
    ),
    (Fault::IsPermanentWithoutADestination, MISSING),
    (Fault::IsUnavailableWithoutADestination, MISSING),
    (Fault::IsOkWithoutADestination, MISSING),
    (Fault::NamesNoDestination, MISSING),
    (Fault::NamesAnotherDestination, MISSING),
    (Fault::RemembersThatADestinationIsMissing, MISSING),
    (Fault::AnswersTooFew, MISSING),
    (Fault::FailsAllDestinations, ANOTHER),
    (Fault::HasOneDestination, ANOTHER),
    (Fault::NamesNoDestination, ANOTHER),
    (Fault::ChecksNothing, "a_check_names_a_missing_destination"),
    (
        Fault::NamesNoDestinationInACheck,
        "a_check_names_a_missing_destination",
    ),
    (
        Fault::ChecksAsUnavailable,
        "a_check_names_a_missing_destination",
    ),
    (
        Fault::RemembersTheFirstCheck,
        "a_check_names_a_missing_destination",
    ),
    (Fault::FindsAProblemAlways, SOUND),
    (Fault::PublishesInACheck, SOUND),
    (Fault::RejectsADuplicate, AGAIN),
    (Fault::IsPermanentForADuplicate, AGAIN),
    (Fault::RefusesTheRestOfALargeCall, THOUSAND),
    (Fault::LosesTheRestOfALargeCall, THOUSAND),
    (Fault::RefusesACallOfManyBytes, MEBIBYTES),
    (Fault::LosesTheRestOfACallOfManyBytes, MEBIBYTES),
    (Fault::CutsThePayload, MEBIBYTES),
    (Fault::StaysBusyAfterADroppedCall, DROPPED),
    (Fault::FailsAfterADroppedCall, DROPPED),
    (Fault::TakesEventsOfADroppedCallForPublished, DROPPED),
    (Fault::SendsTheEndOfADroppedCallFirst, DROPPED),
    (Fault::HangsWhileBlocked, BLOCKED),
    (Fault::RejectsWhileBlocked, BLOCKED),
    (Fault::IsOkWhileBlocked, BLOCKED),
    (Fault::StaysBlocked, BLOCKED),
    (Fault::KeepsTheRestOfAFailedCall, BLOCKED),
    (Fault::KeepsTheRestOfAFailedCall, OUTAGE),
    (Fault::KeepsTheRestOfAFailedCall, MISSING),
    (Fault::KeepsTheRestOfAFailedCall, FIRST),
    (Fault::KeepsTheRestOfAFailedCall, CLOSING),
    (Fault::KeepsTheRestOfAFailedCall, CUT),
    (Fault::KeepsTheRestOfAFailedCall, SILENT),
    (Fault::RejectsWhenFull, FULL),
    (Fault::IsPermanentWhenFull, FULL),
    (Fault::IsUnavailableWhenFull, FULL),
    (Fault::IsOkWhenFull, FULL),
    (Fault::ThrottlesForNoTime, FULL),
    (Fault::StaysFull, FULL),
    (Fault::TakesLaterEventsOfAKeyWhenFull, FULL),
    (Fault::DeliversADuplicate, ONCE),
    (Fault::DeduplicatesByContent, ONCE),
    (Fault::TakesACallWithADuplicateForADuplicate, ONCE),
    (Fault::RejectsADuplicate, ONCE),
    (Fault::RejectsWithoutADestination, MISSING),
    (Fault::RemembersItsFirstAnswer, FIRST),
    (Fault::RemembersThatADestinationIsMissing, FIRST),
    (Fault::GivesALaterCallTheAnswersOfADroppedOne, LATE_MISSING),
    (Fault::RejectsWithoutADestination, UNROUTABLE),
    (Fault::IsPermanentWithoutADestination, UNROUTABLE),
    (Fault::IsUnavailableWithoutADestination, UNROUTABLE),
    (Fault::IsOkWithoutADestination, UNROUTABLE),
    (Fault::NamesNoDestination, UNROUTABLE),
    (Fault::BlamesTheNeighbours, UNROUTABLE),
    (Fault::NeverRecoversAfterARefusal, UNROUTABLE),
    (
        Fault::GivesALaterCallTheAnswersOfADroppedOne,
        LATE_UNROUTABLE,
    ),
    (Fault::RejectsWithoutADestination, FORBIDDEN),
    (Fault::IsPermanentWithoutADestination, FORBIDDEN),
    (Fault::IsUnavailableWithoutADestination, FORBIDDEN),
    (Fault::IsOkWithoutADestination, FORBIDDEN),
    (Fault::NamesNoDestination, FORBIDDEN),
    (Fault::BlamesTheNeighbours, FORBIDDEN),
    (Fault::HangsWhenAChannelCloses, FORBIDDEN),
    (Fault::NeverRecoversAfterARefusal, FORBIDDEN),
    (Fault::BlamesTheNeighbours, CLOSING),
    (Fault::HangsWhenAChannelCloses, CLOSING),
    (Fault::IsOkForWhatAClosedChannelLost, CLOSING),
    (Fault::OpensNoOtherChannel, CLOSING),
    (Fault::IsUnavailableForTheCulprit, CLOSING),
    (Fault::AnswersOkOnceSent, CUT),
    (Fault::RejectsAfterACut, CUT),
    (Fault::NeverConnectsAgain, CUT),
    (Fault::ForgetsConfirmsAfterACut, CUT),
    (Fault::HangsAfterACut, CUT),
    (Fault::SendsTheRestAfterACut, CUT),
    (Fault::TakesOneAnswerForAll, CUT),
    (Fault::WaitsForAnAnswer, NO_ANSWER),
    (Fault::RejectsWithoutAnAnswer, NO_ANSWER),
    (Fault::IsOkWithoutAnAnswer, NO_ANSWER),
    (Fault::NeverConnectsAgain, NO_ANSWER),
    (Fault::WaitsForASilentBroker, SILENT),
    (Fault::RejectsWithASilentBroker, SILENT),
    (Fault::NeverConnectsAgain, SILENT),
    (Fault::TakesALateAnswerForItsOwn, LATE),
    (Fault::StaysBusyWithoutAnAnswer, LATE),
];

const MISSING: &str = "a_missing_destination_is_misconfigured_until_it_is_restored";
const ANOTHER: &str = "a_missing_destination_does_not_affect_another";
const SOUND: &str = "a_check_of_a_sound_destination_finds_no_problem";
const OUTAGE: &str = "an_outage_is_unavailable_and_ends";
const AGAIN: &str = "an_event_that_is_published_again_is_accepted";
const THOUSAND: &str = "a_call_with_a_thousand_events_is_published";
const MEBIBYTES: &str = "a_call_with_16_mebibytes_is_published";
const DROPPED: &str = "a_dropped_call_leaves_the_transport_working";
const BLOCKED: &str = "a_blocked_broker_is_unavailable_until_it_is_unblocked";
const FULL: &str = "a_full_destination_is_throttled_until_it_has_room";
const ONCE: &str = "an_event_that_is_published_again_arrives_once";
const FIRST: &str = "a_destination_may_be_missing_before_the_first_call";
const LATE_MISSING: &str = "a_dropped_call_does_not_answer_for_a_missing_destination";
const UNROUTABLE: &str = "an_unroutable_event_is_misconfigured_and_others_arrive";
const LATE_UNROUTABLE: &str = "a_dropped_call_does_not_answer_for_an_unroutable_event";
const FORBIDDEN: &str = "a_forbidden_destination_is_misconfigured_and_others_arrive";
const CLOSING: &str = "events_in_flight_are_not_blamed_when_their_channel_closes";
const CUT: &str = "a_cut_call_is_ok_only_for_events_at_the_broker";
const NO_ANSWER: &str = "an_answer_that_does_not_come_is_unavailable_in_time";
const SILENT: &str = "a_silent_broker_is_unavailable_in_time";
const LATE: &str = "a_late_answer_is_not_that_of_a_later_call";
