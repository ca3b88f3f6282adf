import Xen

/// What stops a take or a restore that neither the hypervisor, the pools nor the store could say better.
public enum CheckpointError: Error, Equatable, CustomStringConvertible {
  /// Domain-0 was named.
  case isDomainZero
  /// The guest is in a state that a take cannot begin from; it was not touched.
  case notRunning(guest: String, state: String)
  /// dom0 has too little memory to hold the guest's pages; the guest was not touched.
  case noMemory(needed: UInt64, available: UInt64)
  /// The changed pages did not fit into the memory set aside, and the policy forbids to spill; the guest runs on.
  case stagingFull(guest: String, bytes: Int)
  /// The pause lasted longer than allowed; the guest was let go before the epoch was complete.
  case pauseTooLong(guest: String, seconds: Double)
  /// Another tool let the guest go while its pages were being copied; it runs on.
  case letGo(guest: String)
  /// The take did not get to its pause in the time given; the guest runs on.
  case timedOut(guest: String, seconds: Double)
  /// The limits of the configuration, or the pools, leave no room for an epoch; the guest was not touched.
  case noRoom(guest: String, String)
  /// Somebody told us to stop: a guest that ran runs on, and what was begun is undone, or was done to its end.
  case interrupted
  /// Another tool read the guest's log of dirty pages during the take; the guest runs on.
  case trackingLost(guest: String)
  /// Another tool saves or migrates the guest; it was not touched.
  case beingSaved(guest: String)
  /// The epoch lacks a page that the guest has; it was thrown away, the guest runs on.
  case incomplete(guest: String, pfn: UInt64)
  /// A disk was attached, detached or exchanged during the take; the guest runs on.
  case disksChanged(guest: String)
  /// What the epoch would have needed of older ones is damaged: it was thrown away, the guest runs on, and no take builds on that any more.
  case builtOnDamage(guest: String, path: String, String)
  /// A take of this guest is in its pause; nothing was touched.
  case takeRuns(guest: String)
  /// Another process of ours holds the guest; it was not touched.
  case inPause(guest: String)
  /// Some of what killed takes left could not be ended; the rest was.
  case notRecovered([String])
  /// The store has nothing of this guest.
  case noEpochs(guest: String)
  /// Not this epoch of the guest, or more than one is called so: `has no epoch 9; it has 1, 2`.
  case noSuchEpoch(guest: String, String)
  /// The last rollback cannot be undone; nothing was changed.
  case nothingToUndo(guest: String, String)
  /// Epochs that are to be kept were to be removed; none was.
  case pinned(guest: String, epochs: [Int])
  /// A guest cannot be called so; nothing was changed.
  case badName(String, String)
  /// A tool that we call failed; its own words.
  case tool(command: String, status: Int32, message: String)
  /// The host has too little free memory for the restored guest; nothing was touched.
  case hostFull(guest: String, needed: UInt64, available: UInt64)
  /// There is no store where one was to be read.
  case noStore(String)
  /// Another guest has the name; nothing was touched. `uuid` is its own, `hasEpochs`: in the store.
  /// `restored`: the uuid of the guest that was to come back; nil for a clone.
  case nameTaken(guest: String, domain: UInt32, uuid: String, hasEpochs: Bool, restored: String?)
  /// The old guest's backends did not go away; it is destroyed, its disks and epochs are untouched.
  case backendsLinger(guest: String, domain: UInt32)
  /// The guest was started anew while it was being destroyed; its disks and epochs are untouched.
  case cameBack(guest: String, domain: UInt32)
  /// The restore failed after the old guest was destroyed; with the epoch that was taken before, by this one or by an earlier one that did
  /// not end. `disks`: what is wrong with them; nil when they are what the old guest left.
  case restoreFailed(guest: String, epoch: Int, message: String, safetyEpoch: Int?, disks: String?)
  /// No epoch of the running guest could be taken, so it was not brought back.
  case noSafetyEpoch(guest: String, String)
  /// The guest was saved when the host shut down and did not come back; what it was would be lost. It and its disks were not touched.
  case savedByXendomains(guest: String, file: String)
  /// The guest, which was to stand still until its end, runs; it was not destroyed.
  case ranOn(guest: String, epoch: Int)
  /// The guest cannot have a clone; nothing was changed.
  case cannotClone(guest: String, String)
  /// A clone could not be started; the guest that it is made of was not touched.
  case cloneFailed(clone: String, guest: String, epoch: Int, message: String, leftDisks: Bool)
  /// A retention policy that would leave nothing of a guest.
  case policyRefused(guest: String, String)
  /// An epoch's content cannot make a guest.
  case badEpoch(guest: String, epoch: Int, String)

  public var description: String {
    switch self {
    case .isDomainZero: "Domain-0 is the host itself and cannot be checkpointed; name a guest (`xl list`)"
    case .notRunning(let guest, let state): "guest '\(guest)' is \(state); nothing was changed"
    case .noMemory(let needed, let available):
      "dom0 has \(available >> 20) MiB of memory free, the guest's pages need \(needed >> 20) MiB; give dom0 more memory"
    case .stagingFull(let guest, let bytes):
      "guest '\(guest)' changed more than the \(bytes >> 20) MiB set aside for the pause; it runs on; "
        + "raise `staging` or set `staging-full = spill`"
    case .pauseTooLong(let guest, let seconds):
      "guest '\(guest)' was held for longer than the \(seconds) s allowed; it runs again, no epoch was made; "
        + "raise `max-pause` or take when the host is less busy"
    case .letGo(let guest):
      "guest '\(guest)' was resumed by another tool while it was held; it runs on, no epoch was made; take again"
    case .timedOut(let guest, let seconds):
      "guest '\(guest)': the take did not get to its pause within \(seconds) s; it runs on, no epoch was made"
    case .noRoom(let guest, let why): "guest '\(guest)': the take is skipped, the guest was not touched: \(why)"
    case .interrupted: "interrupted; nothing is left half done, and a guest that ran runs on"
    case .trackingLost(let guest):
      "guest '\(guest)': another tool read its log of dirty pages meanwhile; it runs on; take again when that is done"
    case .beingSaved(let guest):
      "guest '\(guest)' is being saved or migrated by another tool; nothing was changed; take when that is done"
    case .incomplete(let guest, let pfn):
      "guest '\(guest)': the epoch would lack its page \(pfn); it was thrown away and the guest runs on; take again, and "
        + "report this"
    case .disksChanged(let guest):
      "guest '\(guest)': its disks were changed during the take (xl block-attach, block-detach); it runs on, no epoch was made; "
        + "take again"
    case .builtOnDamage(let guest, let path, let what):
      "guest '\(guest)': what it needs of older epochs is damaged: \(path): \(what); it runs on, no epoch was made; take again: "
        + "that stores anew what is not sound"
    case .inPause(let guest): "guest '\(guest)' is held by a take or a restore; try again when that has ended"
    case .takeRuns(let guest): "a take of guest '\(guest)' is in its pause; recover when it has ended, or was killed"
    case .notRecovered(let failures):
      "not all could be recovered: \(failures.joined(separator: "; ")); run `ckpt recover` again when that is mended"
    case .noEpochs(let guest): "no epoch of '\(guest)' in this store; `ckpt list` shows what it holds"
    case .noSuchEpoch(let guest, let text): "guest '\(guest)' \(text)"
    case .nothingToUndo(let guest, let text): "guest '\(guest)': there is nothing to undo: \(text)"
    case .pinned(let guest, let epochs):
      "guest '\(guest)': pinned: \(epochs.map(String.init).joined(separator: ", ")); nothing was removed; "
        + "`ckpt unpin` them, or say --force"
    case .badName(let name, let text): "'\(name.prefix(64))' is no name for a guest: \(text); nothing was changed"
    case .tool(let command, let status, let message): "`\(command)` failed with status \(status): \(message)"
    case .hostFull(let guest, let needed, let available):
      "guest '\(guest)' needs \(needed >> 20) MiB, the host has \(available >> 20) MiB free; nothing was changed"
    case .noStore(let path):
      "no store at \(path); name it with --store or CKPT_STORE, `ckpt pool create` and `ckpt take` make it"
    case .nameTaken(let guest, let domain, let uuid, let hasEpochs, let restored):
      "domain \(domain) is another guest named '\(guest)', of uuid \(uuid)"
        + (hasEpochs ? " (its epochs: ckpt list \(uuid))" : "") + "; rename or destroy it first; nothing was changed"
        + (restored.map {
          "; if it is the same guest, which xl create gave a new uuid, write into its xl configuration: uuid = \"\($0)\""
        } ?? "")
    case .backendsLinger(let guest, let domain):
      "guest '\(guest)' (domain \(domain)) is destroyed but its backends do not go away; its disks are untouched; "
        + "run the restore again when `xenstore-ls /local/domain/0/backend` no longer shows it"
    case .cameBack(let guest, let domain):
      "guest '\(guest)' came back as domain \(domain): it rebooted or crashed, or somebody started it; its disks are untouched; "
        + "run the restore again"
    case .restoreFailed(let guest, let epoch, let message, let safety, let disks):
      "guest '\(guest)' is not running: epoch \(epoch) could not be started: \(message); "
        + (disks.map { "\($0);" } ?? "its disks are as it left them and")
        + " all epochs are kept; run `ckpt restore` again, "
        + (safety.map { "go back to epoch \($0), which was taken of it before: ckpt undo \(guest), " } ?? "")
        + "or start it anew from its disks: xl create"
    case .noSafetyEpoch(let guest, let text):
      "guest '\(guest)' was not touched: no epoch of it as it is now could be taken: \(text); say --no-safety to go back "
        + "without one"
    case .savedByXendomains(let guest, let file):
      "guest '\(guest)' was not touched: it does not run, and its newest state is what xendomains saved of it when the host "
        + "shut down, \(file), with its disks as they are; bring that back first: `xl restore \(file)`, then remove the file; "
        + "to lose it, remove the file, or say --no-safety"
    case .ranOn(let guest, let epoch):
      "guest '\(guest)' runs on: it stood still for longer than \(Int(HeldGuest.mostSeconds)) s, or something else let it go, and what it does now "
        + "is not in epoch \(epoch); it was not brought back; try again"
    case .cannotClone(let guest, let text): "guest '\(guest)' cannot be cloned: \(text); nothing was changed"
    case .cloneFailed(let clone, let guest, let epoch, let message, let leftDisks):
      "'\(clone)' could not be started from epoch \(epoch) of '\(guest)': \(message); '\(guest)' was not touched, "
        + (leftDisks ? "the clone's disks are left: ckpt disk remove \(clone)" : "nothing is left of the clone")
    case .policyRefused(let guest, let text): "guest '\(guest)': \(text)"
    case .badEpoch(let guest, let epoch, let text):
      "epoch \(epoch) of '\(guest)' cannot be restored: \(text); nothing was changed; restore another epoch"
    }
  }
}
