import EpochStore

/// Why there is no room for an epoch. Bytes.
enum Shortage: Equatable, CustomStringConvertible {
  case quota(used: UInt64, need: UInt64, limit: UInt64)
  case storeQuota(used: UInt64, need: UInt64, limit: UInt64)
  case store(path: String, free: UInt64, need: UInt64, reserve: UInt64)
  case pool(PoolError)
  case watermark(pool: String, what: String, percent: Int, limit: Int)

  /// What there is.
  struct Use {
    var path: String
    var guestBytes: UInt64
    var storeBytes: UInt64
    var freeBytes: UInt64
    var pools: [PoolRoom]
  }

  /// What stands in the way of an epoch of `need` bytes in the store; nil when nothing does.
  static func find(_ limits: SpaceLimits, need: UInt64, _ use: Use) -> Shortage? {
    if let limit = limits.quota, use.guestBytes + need > limit {
      return .quota(used: use.guestBytes, need: need, limit: limit)
    }
    if let limit = limits.storeQuota, use.storeBytes + need > limit {
      return .storeQuota(used: use.storeBytes, need: need, limit: limit)
    }
    if use.freeBytes < need + limits.hostReserve {
      return .store(path: use.path, free: use.freeBytes, need: need, reserve: limits.hostReserve)
    }
    for pool in use.pools {
      if let problem = pool.problem { return .pool(problem) }
      guard let limit = limits.poolWatermark else { continue }
      for (what, percent) in [("data", pool.dataPercent), ("metadata", pool.metadataPercent)] where percent >= limit {
        return .watermark(pool: pool.pool, what: what, percent: percent, limit: limit)
      }
    }
    return nil
  }

  /// What the epoch may take of the store; 0 where it is not the store that is short.
  var need: UInt64 {
    switch self {
    case .quota(_, let need, _), .storeQuota(_, let need, _), .store(_, _, let need, _): need
    case .pool, .watermark: 0
    }
  }

  var description: String {
    switch self {
    case .quota(let used, let need, let limit):
      "no room for the epoch within its quota: it has \(size(used)) of \(size(limit)) and may need \(size(need)) more; "
        + "prune epochs, or raise `quota`"
    case .storeQuota(let used, let need, let limit):
      "no room for the epoch within the store's quota: \(size(used)) of \(size(limit)) are used and it may need "
        + "\(size(need)) more; prune epochs, or raise `store-quota`"
    case .store(let path, let free, let need, let reserve):
      "no room for the epoch in \(path): it may need \(size(need)) and \(size(free)) are free"
        + (reserve > 0 ? ", of which `host-reserve` keeps \(size(reserve))" : "")
        + "; prune older epochs or enlarge the file system"
    case .pool(let error): "\(error)"
    case .watermark(let pool, let what, let percent, let limit):
      "pool \(pool): \(percent) % of its \(what) are used, `pool-watermark` is \(limit); prune epochs or enlarge the pool"
    }
  }

  private func size(_ bytes: UInt64) -> String { ByteCount.text(bytes) }
}
