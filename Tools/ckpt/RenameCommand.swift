import ArgumentParser
import ControlAPI

struct RenameCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rename", abstract: "Call a guest otherwise in the store.",
    discussion: """
      By the new name commands find the guest's epochs, and a restore starts it under it. The domain that runs keeps its \
      name (xl rename), and epochs that are taken of it later bear that one; its disks keep their names too.
      """)

  @Argument(help: "Name or uuid of the guest.", completion: .guests) var vm: String
  @Argument(help: "The new name.") var name: String
  @OptionGroup var common: CommonOptions

  func run() throws {
    let renamed = try common.service().rename(RenameRequest(guest: vm, name: name), Call())
    if common.json { return try Terminal.printJSON(renamed) }
    Terminal.say("guest \(renamed.uuid) was '\(renamed.old)', its epochs are now found as '\(renamed.name)'")
  }
}
