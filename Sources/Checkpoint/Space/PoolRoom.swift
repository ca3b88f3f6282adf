import DeviceMapper

/// How full a pool is. Bytes.
public struct PoolRoom: Equatable, Sendable {
  public var pool: String
  public var dataUsed: UInt64
  public var dataTotal: UInt64
  /// Without the part that the kernel keeps for itself.
  public var metadataUsed: UInt64
  public var metadataTotal: UInt64
  /// 0 to 1: ids given so far, of all that the pool can ever give. Each is a tick of its snapshot clock at most.
  public var clockShare: Double
  /// Why the pool takes no epoch now, where the removal of epochs can help.
  public var problem: PoolError?
  /// What a person should know early.
  public var warnings: [String]

  public init(
    pool: String, dataUsed: UInt64 = 0, dataTotal: UInt64, metadataUsed: UInt64 = 0, metadataTotal: UInt64,
    clockShare: Double = 0, problem: PoolError? = nil, warnings: [String] = []
  ) {
    (self.pool, self.dataUsed, self.dataTotal) = (pool, dataUsed, dataTotal)
    (self.metadataUsed, self.metadataTotal) = (metadataUsed, metadataTotal)
    (self.clockShare, self.problem, self.warnings) = (clockShare, problem, warnings)
  }

  init(_ catalog: PoolCatalog, _ status: PoolStatus) {
    let blockBytes = catalog.blockSectors * 512
    let hidden = status.hiddenMetadataReserveBlocks
    self.init(
      pool: catalog.name, dataUsed: status.usedDataBlocks * blockBytes, dataTotal: status.totalDataBlocks * blockBytes,
      metadataUsed: (max(hidden, status.usedMetadataBlocks) - hidden) * PoolStatus.metadataBlockBytes,
      metadataTotal: (status.totalMetadataBlocks - hidden) * PoolStatus.metadataBlockBytes,
      clockShare: Double(catalog.nextThinID - 1) / Double(PoolCatalog.lastThinID))
    do { try PoolReserve.check(catalog, status) } catch let error as PoolError {
      if case .nearlyFull = error { problem = error }
      // Deleting epochs brings it back by itself.
      if case .unhealthy = error, status.mode == .outOfDataSpace { problem = error }
    } catch {}
    warnings = early(catalog, status).map(\.text)
  }

  public var dataPercent: Int { percent(dataUsed, dataTotal) }
  public var metadataPercent: Int { percent(metadataUsed, metadataTotal) }

  /// So full that the configuration allows no epoch.
  public func reachesWatermark(of limits: SpaceLimits) -> Bool {
    limits.poolWatermark.map { max(dataPercent, metadataPercent) >= $0 } ?? false
  }

  func early(_ catalog: PoolCatalog, _ status: PoolStatus) -> [PoolWarning] {
    var warnings: [PoolWarning] = []
    func warn(_ kind: PoolWarning.Kind, _ text: String) {
      warnings.append(PoolWarning(pool, kind, "pool \(pool): \(text)"))
    }
    // A failed pool has no numbers.
    if status.mode != .failed {
      if dataPercent >= Early.data {
        warn(.data, "\(dataPercent) % of its data are used; prune epochs, or \(catalog.growth(of: .data))")
      }
      if metadataPercent >= Early.metadata {
        warn(
          .metadata,
          "\(metadataPercent) % of its metadata are used; prune epochs, or \(catalog.growth(of: .metadata))")
      }
    }
    if clockShare >= Early.clock {
      warn(
        .clock,
        "\(Int(clockShare * 100)) % of the snapshots that it can ever have were taken (dm-thin's clock has 24 bits); "
          + "in time " + PoolError.wayToAnotherPool)
    }
    if status.heldMetadataRoot != nil {
      warn(
        .heldMetadata,
        "a tool holds a snapshot of its metadata, which frees none meanwhile; if that tool is gone: dmsetup message "
          + "\(catalog.poolDevice) 0 release_metadata_snap")
    }
    return warnings
  }

  /// From where on a person is told.
  private enum Early {
    static let data = 85
    static let metadata = 75
    static let clock = 0.75
  }
}

/// 0 of nothing is nothing.
private func percent(_ part: UInt64, _ whole: UInt64) -> Int {
  whole == 0 ? 0 : Int(Double(part) / Double(whole) * 100)
}
