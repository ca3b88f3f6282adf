public import Checkpoint
public import EpochStore

/// What is in the store and its pools now.
extension HostStatus {
  /// - Parameter scheduled: names or uuids of the guests that have a schedule; nil when that cannot be known.
  public func families(scheduled: Set<String>? = nil, now: EpochTime = .now) -> [MetricFamily] {
    storeFamilies() + poolFamilies() + guestFamilies { isTaken($0, scheduled, now) }
  }

  private func storeFamilies() -> [MetricFamily] {
    gauges([
      ("ckpt_store_used_bytes", "Bytes that the epochs of all guests have in the store.", Double(store.used)),
      ("ckpt_store_free_bytes", "Bytes free in the store's file system.", Double(store.fileSystem.free)),
      ("ckpt_store_size_bytes", "Bytes of the store's file system.", Double(store.fileSystem.total)),
      (
        "ckpt_store_unreadable_folders", "Folders of guests that cannot be read: what is in them is not counted.",
        Double(unreadable.count)
      ),
      ("ckpt_recoverable", "Things that ckpt recover would have to end.", Double(recoverable.count)),
    ])
  }

  private func gauges(_ list: [(name: String, help: String, value: Double)]) -> [MetricFamily] {
    list.map { entry in
      var family = MetricFamily(entry.name, .gauge, entry.help)
      family.add(entry.value)
      return family
    }
  }

  private func poolFamilies() -> [MetricFamily] {
    var dataUsed = MetricFamily("ckpt_pool_data_used_bytes", .gauge, "Bytes of the pool's data in use.")
    var data = MetricFamily("ckpt_pool_data_size_bytes", .gauge, "Bytes of the pool's data.")
    var metadataUsed = MetricFamily("ckpt_pool_metadata_used_bytes", .gauge, "Bytes of the pool's metadata in use.")
    var metadata = MetricFamily("ckpt_pool_metadata_size_bytes", .gauge, "Bytes of the pool's metadata.")
    var clock = MetricFamily(
      "ckpt_pool_clock_used_ratio", .gauge, "Share of the snapshots that the pool can ever have, taken.")
    var healthy = MetricFamily("ckpt_pool_takes_epochs", .gauge, "1 when the pool would take an epoch now.")
    for pool in pools {
      let label = (name: "pool", value: pool.name)
      if let room = pool.room {
        dataUsed.add(Double(room.dataUsed), label)
        data.add(Double(room.dataTotal), label)
        metadataUsed.add(Double(room.metadataUsed), label)
        metadata.add(Double(room.metadataTotal), label)
        clock.add(room.clockShare, label)
      }
      let isOpen = pool.room.map { !$0.reachesWatermark(of: store.limits) } ?? false
      healthy.add(isOpen && pool.problem == nil ? 1 : 0, label)
    }
    return [dataUsed, data, metadataUsed, metadata, clock, healthy]
  }

  /// Milliseconds since its last failure for which a guest that neither runs nor has a schedule is taken to be tried again.
  private static let week: Int64 = 7 * 86_400_000

  /// Somebody takes the guest: it runs, has a schedule, or was tried lately, as by a timer of systemd. A row of failures of one
  /// that was given up would never end.
  private func isTaken(_ guest: Guest, _ scheduled: Set<String>?, _ now: EpochTime) -> Bool {
    // Where Xen does not say which guests run, none is known not to.
    guard xen != nil, guest.domain == nil, let scheduled else { return true }
    if scheduled.contains(guest.name) || scheduled.contains(guest.uuid) { return true }
    return guest.streak.lastFailure.map { now.milliseconds - $0.time.milliseconds < Self.week } ?? false
  }

  /// By name. Of guests that bear the same one, epochs are told of the one that was taken last, and failures of the one that runs.
  private func guestFamilies(_ isTaken: (Guest) -> Bool) -> [MetricFamily] {
    var epochs = MetricFamily("ckpt_epochs", .gauge, "Epochs of the guest in the store.")
    var bytes = MetricFamily("ckpt_epochs_bytes", .gauge, "Bytes that the guest's epochs have in the store.")
    var damaged = MetricFamily("ckpt_epochs_damaged", .gauge, "Epochs of the guest that are damaged.")
    var newest = MetricFamily(
      "ckpt_last_success_timestamp_seconds", .gauge, "When the guest's newest epoch was taken, since 1970.")
    var row = MetricFamily("ckpt_take_failures_in_row", .gauge, "Takes that made no epoch since the last one that did.")
    var held = MetricFamily("ckpt_guest_held", .gauge, "1 while the hypervisor holds the guest suspended.")
    for (name, same) in Dictionary(grouping: guests, by: \.name).sorted(by: { $0.key < $1.key }) {
      let label = (name: "guest", value: name)
      if let last = same.filter({ !$0.isUnreadable }).max(by: { $0.newestTime < $1.newestTime }) {
        epochs.add(Double(last.epochs), label)
        bytes.add(Double(last.bytes), label)
        damaged.add(Double(last.damaged), label)
        if let time = last.newest?.time { newest.add(Double(time.milliseconds) / 1000, label) }
        let today = same.first { $0.domain != nil } ?? last
        if !today.isUnreadable, isTaken(today) { row.add(Double(today.streak.failures), label) }
      }
      if let running = same.first(where: { $0.domain != nil }) { held.add(running.isHeld ? 1 : 0, label) }
    }
    return [epochs, bytes, damaged, newest, row, held]
  }
}

extension HostStatus.Guest {
  /// Milliseconds since 1970; 0 without an epoch.
  fileprivate var newestTime: Int64 { newest?.time.milliseconds ?? 0 }
}
