//! Each clause of the transport's contract is broken once, and the case that names it says so.

mod link;
mod refusals;
mod saboteur;
mod traps;

use crate::harness::{Trial, block_on};
use outbox_conformance::transport::{
    CASES, blocking, cancellation, checks, clauses, closing, delivery, destinations, duplicates,
    limits, missing, order, outage, rights, throttling, unroutable, wire,
};
use refusals::REFUSALS;
use saboteur::Saboteur;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    AnswersNoEvent,
    AnswersTooFew,
    RefusesTheLast,
    DropsTheLast,
    LosesHeaders,
    LosesTheKey,
    ChangesTheType,
    ChangesWhenItWasMade,
    LosesLineBreaksInHeaders,
    ChangesTheId,
    ChangesTheContentType,
    CutsThePayload,
    ReversesEachPair,
    LosesInAnInterleaving,
    RejectsInAnOutage,
    IsOkInAnOutage,
    NeverComesBack,
    RejectsTheTooLarge,
    FailsTheNeighbours,
    AnswersInReverse,
    AnswersNothingInAnOutage,
    ReversesACall,
    AcceptsEventsAfterARefusedOne,
    AnswersOkAfterARefusedEvent,
    ResendsOneEventOfACall,
    SendsTheRestWithoutARefusedFirstEvent,
    SendsWhatItAnswersAsRefused,
    SendsTheRestWithTheNextCall,
    IsPermanentWithoutADestination,
    IsUnavailableWithoutADestination,
    IsOkWithoutADestination,
    NamesNoDestination,
    NamesAnotherDestination,
    RemembersThatADestinationIsMissing,
    FailsAllDestinations,
    HasOneDestination,
    ChecksNothing,
    NamesNoDestinationInACheck,
    ChecksAsUnavailable,
    FindsAProblemAlways,
    PublishesInACheck,
    RemembersTheFirstCheck,
    RejectsADuplicate,
    IsPermanentForADuplicate,
    RefusesTheRestOfALargeCall,
    LosesTheRestOfALargeCall,
    RefusesACallOfManyBytes,
    LosesTheRestOfACallOfManyBytes,
    StaysBusyAfterADroppedCall,
    FailsAfterADroppedCall,
    TakesEventsOfADroppedCallForPublished,
    GivesALaterCallTheAnswersOfADroppedOne,
    SendsTheEndOfADroppedCallFirst,
    HangsWhileBlocked,
    RejectsWhileBlocked,
    IsOkWhileBlocked,
    StaysBlocked,
    KeepsTheRestOfAFailedCall,
    RejectsWhenFull,
    IsPermanentWhenFull,
    IsUnavailableWhenFull,
    IsOkWhenFull,
    ThrottlesForNoTime,
    StaysFull,
    TakesLaterEventsOfAKeyWhenFull,
    DeliversADuplicate,
    DeduplicatesByContent,
    TakesACallWithADuplicateForADuplicate,
    RemembersItsFirstAnswer,
    RejectsWithoutADestination,
    NeverRecoversAfterARefusal,
    BlamesTheNeighbours,
    HangsWhenAChannelCloses,
    IsOkForWhatAClosedChannelLost,
    OpensNoOtherChannel,
    IsUnavailableForTheCulprit,
    AnswersOkOnceSent,
    RejectsAfterACut,
    NeverConnectsAgain,
    ForgetsConfirmsAfterACut,
    HangsAfterACut,
    SendsTheRestAfterACut,
    TakesOneAnswerForAll,
    WaitsForAnAnswer,
    RejectsWithoutAnAnswer,
    IsOkWithoutAnAnswer,
    WaitsForASilentBroker,
    RejectsWithASilentBroker,
    TakesALateAnswerForItsOwn,
    StaysBusyWithoutAnAnswer,
}

outbox_conformance::transport_suite! { @list runner }

pub(crate) const TRIAL: Trial<Fault> = Trial {
    cases: CASES,
    clauses,
    refusals: REFUSALS,
    sound: Fault::None,
    run: |case, fault| block_on(run(case, || Saboteur::new(fault))),
};

#[test]
fn every_case_refuses_its_faults_in_every_run() {
    TRIAL.judge();
}
