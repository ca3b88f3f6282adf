import ArgumentParser
import Checkpoint
import DeviceMapper

struct PoolCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pool", abstract: "Thin pools, which hold guests' disks and their epochs.",
    subcommands: [Create.self, Show.self, Grow.self, Start.self, Stop.self, Remove.self])

  struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "create", abstract: "Make a pool in a volume group, on two devices, or in files for a trial.",
      discussion: """
        In a volume group it makes the volumes ckpt-NAME-data, ckpt-NAME-meta and ckpt-NAME-spare. The last is one extent for the \
        day on which the metadata are full: lvremove it, lvextend ckpt-NAME-meta by one extent, then ckpt pool grow NAME.
        Devices are remembered by their names in /dev/disk/by-id, where they have such: /dev/sdb may be another one after a boot.
        """)

    @Argument(help: "Name of the pool: a-z, 0-9 and -.") var name: String = "main"
    @Option(help: ArgumentHelp("Volume group of LVM with free space.", valueName: "group")) var vg: String?
    @Option(
      help: ArgumentHelp("Device for the disks' data; its content is lost.", valueName: "device"), completion: .file())
    var data: String?
    @Option(
      help: ArgumentHelp("Device for the pool's metadata; its content is lost.", valueName: "device"),
      completion: .file())
    var metadata: String?
    @Option(
      help: ArgumentHelp("Folder for a trial pool's files, by its whole path.", valueName: "dir"),
      completion: .directory)
    var file: String?
    @Option(
      help: ArgumentHelp(
        "Size of the data: of a trial pool, or in a volume group, where 20% is a share of the whole group and must be free.",
        valueName: "size"))
    var size: String?
    @Flag(help: "Do not ask; needed without a terminal.") var yes = false
    @OptionGroup var common: CommonOptions

    func validate() throws {
      let onDevices = data != nil && metadata != nil && file == nil && size == nil && vg == nil
      let inFiles = file != nil && size != nil && data == nil && metadata == nil && vg == nil
      let inGroup = vg != nil && size != nil && data == nil && metadata == nil && file == nil
      guard onDevices || inFiles || inGroup else {
        throw ValidationError(
          "Name either --vg GROUP --size SIZE, or --data DEVICE --metadata DEVICE, or --file FOLDER --size SIZE.")
      }
    }

    func run() throws {
      let percent = try vg == nil ? nil : size.flatMap(Self.percent)
      let bytes = try percent == nil ? size.map(Quantity.parseBytes) : nil
      let kept = try CommonOptions.configuration(nil).keptEpochs
      if let data, let metadata { try Terminal.confirm("All content of \(data) and \(metadata) is lost.", yes: yes) }
      // On a fresh host a pool is the first thing that is made.
      _ = try common.engine.store()
      let pools = try common.engine.pools()
      if let data, let metadata {
        try pools.create(name, data: data, metadata: metadata)
      } else if let vg {
        let share = percent.map(PoolSize.percent) ?? .bytes(bytes ?? 0)
        try pools.create(name, group: vg, size: share, keeping: kept)
      } else if let file, let bytes {
        try pools.create(name, file: file, size: bytes)
      }
      try PoolReportView.show([pools.status(name)], json: common.json)
    }

    /// - Returns: nil for what does not end in `%`.
    private static func percent(_ text: String) throws -> Int? {
      guard text.hasSuffix("%") else { return nil }
      guard let number = Int(text.dropLast()), (1...100).contains(number) else {
        throw UsageRefused(description: "'\(text)' is no share; write it like 20%")
      }
      return number
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "show", abstract: "Show pools and the room in them.",
      discussion: """
        A pool takes no epoch while less than 2 % of its data (64 MiB at least) or 5 % of its metadata (1 MiB at least) are free, nor \
        one in files while their file system has less than that for data. It warns from 85 % of the data or 75 % of the metadata used \
        on, and of the pool's snapshot clock, which ends for good. Disks are thin: where the pool is full, guests' writes wait for \
        room, and fail when none comes.
        """)

    @Argument(help: "Name of a pool; all when left out.", completion: .pools) var name: String?
    @OptionGroup var common: CommonOptions

    func run() throws {
      _ = try common.engine.existingStore()
      let pools = try common.engine.pools()
      try PoolReportView.show(name.map { [try pools.status($0)] } ?? pools.list(), json: common.json)
    }
  }
}

extension PoolCommand {
  struct Grow: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "grow", abstract: "Make a pool larger while guests use it.",
      discussion: """
        A trial pool's files get the sizes that you say. Devices are enlarged first, as lvextend does; the pool then takes in \
        what they have. A pool cannot shrink. Metadata in files that run low are grown by ckptd, and by the next take.
        """)

    @Argument(help: "Name of the pool.", completion: .pools) var name: String
    @Option(help: ArgumentHelp("Size of a trial pool's data, like 20G.", valueName: "size")) var dataSize: String?
    @Option(help: ArgumentHelp("Size of a trial pool's metadata, like 256M.", valueName: "size"))
    var metadataSize: String?
    @OptionGroup var common: CommonOptions

    func run() throws {
      let (data, metadata) = (try dataSize.map(Quantity.parseBytes), try metadataSize.map(Quantity.parseBytes))
      _ = try common.engine.existingStore()
      let pools = try common.engine.pools()
      try pools.grow(name, data: data, metadata: metadata)
      try PoolReportView.show([pools.status(name)], json: common.json)
    }
  }

  struct Start: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "start", abstract: "Make the devices of all pools and disks again, after the host was booted.",
      discussion: """
        Disks that a killed take left suspended run on. Does nothing to what is there already.
        Exit status of start: that of the first pool or disk that does not start; the others are tried all the same.
        """)

    @OptionGroup var common: CommonOptions

    func run() throws {
      try common.forEachPool { pools, name in
        let faults = try pools.ensureActive(name)
        for fault in faults { Terminal.error("ckpt: \(fault)") }
        return faults.isEmpty
      }
    }
  }

  struct Stop: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "stop",
      abstract: "Take away the devices of pools and disks that nobody uses, as before the host shuts down.",
      discussion: """
        Guests that run keep theirs, and no data are touched: `ckpt pool start` makes the devices again. The unit ckpt-pools does it when the \
        host goes down. Ends with the first failure's status; with --json it lists the pools all the same.
        """)

    @OptionGroup var common: CommonOptions

    func run() throws {
      try common.forEachPool { pools, name in
        for device in try pools.stop(name) { Terminal.error("ckpt: pool \(name): \(device) is in use and stays") }
        return true
      }
    }
  }

  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "remove", abstract: "Remove a pool in which nothing is.",
      discussion: """
        Refused while it has disks, or epochs of them. With it go the volumes that were made in a volume group, or a trial pool's files. \
        Devices are wiped at their starts and free for another pool. A removal that was broken off is ended by the same command.
        """)

    @Argument(help: "Name of the pool.", completion: .pools) var name: String
    @Flag(help: "Do not ask; needed without a terminal.") var yes = false
    @OptionGroup var common: CommonOptions

    func run() throws {
      _ = try common.engine.existingStore()
      let pools = try common.engine.pools()
      let found = try pools.removable(name)
      try Terminal.confirm("All content is lost: pool \(name), \(found.data), \(found.metadata).", yes: yes)
      let removed = try pools.remove(name)
      if let note = removed.note { Terminal.error("ckpt: note: \(note)") }
      if common.json { return try Terminal.printJSON([PoolReportView(found)]) }
      let with = removed.gone.isEmpty ? "" : ", with \(removed.gone.joined(separator: ", "))"
      Terminal.say("pool \(name): removed\(with)")
    }
  }
}

extension CommonOptions {
  /// Does something to each pool, then shows all. What is wrong with one pool keeps it from no other.
  ///
  /// - Parameter body: false when a part of it failed.
  /// - Throws: the status of the first failure, when all is done and told.
  fileprivate func forEachPool(_ body: (Pools, String) throws -> Bool) throws {
    _ = try engine.existingStore()
    let pools = try engine.pools()
    var status: ExitStatus?
    for name in pools.names() {
      do { if try !body(pools, name) { status = status ?? .failed } } catch {
        Terminal.error("ckpt: \(error)")
        status = status ?? ExitStatus(error) ?? .failed
      }
    }
    try PoolReportView.show(pools.list(), json: json)
    if let status { throw status }
  }
}
