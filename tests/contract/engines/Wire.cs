// Wire ADDRESS: says to a server what the vectors hello_full, scene_full, reset_full and control_full say (nine times),
// and prints what it reads as lines of JSON. test_engine_wire.py is the server.
using System;
using System.Globalization;
using System.Text;
using System.Threading;
using HeliosBridge;

static class Wire
{
    static string Text(FormattableString text) { return text.ToString(CultureInfo.InvariantCulture); }

    static void Print(HeliosFrame frame)
    {
        HeliosVector p = frame.Camera.Position;
        HeliosRotation q = frame.Camera.Rotation;
        StringBuilder hex = new StringBuilder();
        foreach (byte one in frame.Pixels) hex.Append(one.ToString("x2"));
        Console.WriteLine(Text($@"{{""frame"": {{""seq"": {frame.Seq}, ""source"": ""{frame.Source.ToString().ToLowerInvariant()}"",
 ""chunk"": {frame.Chunk}, ""index"": {frame.Index}, ""action"": ""{frame.Action}"", ""position"": [{p.X:r}, {p.Y:r}, {p.Z:r}],
 ""rotation"": [{q.X:r}, {q.Y:r}, {q.Z:r}, {q.W:r}], ""vertical_fov_deg"": {frame.Camera.VerticalFovDegrees:r},
 ""control_age_us"": {frame.ControlAgeMicroseconds}, ""server_us"": {frame.ServerMicroseconds},
 ""deadline_met"": {frame.DeadlineMet.ToString().ToLowerInvariant()}, ""width"": {frame.Width}, ""height"": {frame.Height}}},
 ""pixels"": ""{hex}""}}").Replace("\r", "").Replace("\n", ""));
    }

    static void Speak(HeliosClient client)
    {
        client.SetScene(new[]
        {
            new HeliosPart { Id = 1, Shape = HeliosShape.Box, Position = new HeliosVector(0, 0.5f, -4) },
            new HeliosPart
            {
                Id = 2, Shape = HeliosShape.Mesh, Material = "stone", Colour = new HeliosVector(0.5f, 0.25f, 1),
                Vertices = new[] { new HeliosVector(0, 0, 0), new HeliosVector(0, 0, 1), new HeliosVector(1, 0, 0) },
                Triangles = new[] { 0, 1, 2 },
            },
        }, "an old garden", 42);
        client.UpdateScene(null, new[] { new HeliosMove { Id = 1, Position = new HeliosVector(1, 0.5f, -4), Rotation = new HeliosRotation(0, 1, 0, 0) } }, new uint[] { 9 });
        client.Reset("again", 3);
        HeliosCamera camera = new HeliosCamera { Position = new HeliosVector(1.5f, 1.6f, -2), Rotation = new HeliosRotation(0, 0.6f, 0, 0.8f), VerticalFovDegrees = 60 };
        for (int i = 0; i < 9; i++) client.Send(ref camera, "make it night", true, new[] { new HeliosEvent("door", "open") });
    }

    static int Main(string[] arguments)
    {
        Uri address = new Uri(arguments[0]);
        using (HeliosClient client = new HeliosClient(new HeliosOptions
        {
            Host = address.Host, Port = address.Port, Name = "vector", Axes = "unreal", UnitsPerMetre = 100, Credit = 4,
            BudgetMicroseconds = 8333, TickHz = 120,
        }))
            while (true)
            {
                HeliosFrame frame;
                if (client.TryTake(out frame)) Print(frame);
                HeliosNotice notice;
                while (client.TryTakeNotice(out notice))
                {
                    if (notice.Kind == HeliosNoticeKind.Opened) { Console.WriteLine("{\"welcome\": {\"model\": \"" + notice.Text + "\"}}"); Speak(client); }
                    else Console.WriteLine("{\"notice\": \"" + notice.Text + "\"}");
                    if (notice.Kind == HeliosNoticeKind.Closed) return 0;
                }
                Thread.Sleep(1);
            }
    }
}
