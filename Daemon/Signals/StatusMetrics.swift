public import Checkpoint
import EpochStore

/// What is in the store and its pools now.
extension HostStatus {
  public func families() -> [MetricFamily] { storeFamilies() + poolFamilies() + guestFamilies() }

  private func storeFamilies() -> [MetricFamily] {
    gauges([
      ("ckpt_store_used_bytes", "Bytes that the epochs of all guests have in the store.", Double(store.used)),
      ("ckpt_store_free_bytes", "Bytes free in the store's file system.", Double(store.fileSystem.free)),
      ("ckpt_store_size_bytes", "Bytes of the store's file system.", Double(store.fileSystem.total)),
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
      healthy.add(pool.room != nil && pool.problem == nil ? 1 : 0, label)
    }
    return [dataUsed, data, metadataUsed, metadata, clock, healthy]
  }

  /// By name; of guests that bore the same one, the one that was taken last.
  private func guestFamilies() -> [MetricFamily] {
    var epochs = MetricFamily("ckpt_epochs", .gauge, "Epochs of the guest in the store.")
    var bytes = MetricFamily("ckpt_epochs_bytes", .gauge, "Bytes that the guest's epochs have in the store.")
    var damaged = MetricFamily("ckpt_epochs_damaged", .gauge, "Epochs of the guest that are damaged.")
    var newest = MetricFamily(
      "ckpt_last_success_timestamp_seconds", .gauge, "When the guest's newest epoch was taken, since 1970.")
    var row = MetricFamily("ckpt_take_failures_in_row", .gauge, "Takes that made no epoch since the last one that did.")
    var held = MetricFamily("ckpt_guest_held", .gauge, "1 while the hypervisor holds the guest suspended.")
    let byName = Dictionary(grouping: guests, by: \.name).values.compactMap { same in
      same.max { ($0.newest?.time.milliseconds ?? 0) < ($1.newest?.time.milliseconds ?? 0) }
    }
    for guest in byName.sorted(by: { $0.name < $1.name }) {
      let label = (name: "guest", value: guest.name)
      epochs.add(Double(guest.epochs), label)
      bytes.add(Double(guest.bytes), label)
      damaged.add(Double(guest.damaged), label)
      if let time = guest.newest?.time { newest.add(Double(time.milliseconds) / 1000, label) }
      row.add(Double(guest.streak.failures), label)
      if guest.domain != nil { held.add(guest.isHeld ? 1 : 0, label) }
    }
    return [epochs, bytes, damaged, newest, row, held]
  }
}
