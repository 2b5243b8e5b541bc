// Walk ADDRESS SECONDS: hands over a small level, walks a circle at 60 Hz, "shows" each frame, prints a line of JSON.
// The walk is the one of demos/clients/README.md, in Unity's axes: x right, y up, z forward, left-handed.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Threading;
using HeliosBridge;

static class Walk
{
    const int TickMicroseconds = 16667;

    static readonly HeliosPart[] Level =
    {
        new HeliosPart { Id = 1, Shape = HeliosShape.Plane, Size = new HeliosVector(40, 1, 40), Material = "grass" },
        new HeliosPart { Id = 2, Shape = HeliosShape.Box, Position = new HeliosVector(0, 1.5f, 8), Size = new HeliosVector(8, 3, 0.5f), Material = "brick" },
        new HeliosPart { Id = 3, Shape = HeliosShape.Cylinder, Position = new HeliosVector(4, 2, 5), Size = new HeliosVector(1, 4, 1), Material = "stone" },
        new HeliosPart { Id = 4, Shape = HeliosShape.Sphere, Position = new HeliosVector(2, 1.5f, 4), Size = new HeliosVector(0.6f, 0.6f, 0.6f), Material = "lamp", Colour = new HeliosVector(1, 0.9f, 0.7f) },
    };

    static HeliosCamera CameraAt(long tick)
    {
        double turned = 0.01 * tick; // to the right, around a point 3 m to the right of the start
        return new HeliosCamera
        {
            Position = new HeliosVector((float)(3 * (1 - Math.Cos(turned))), 1.6f, (float)(3 * Math.Sin(turned))),
            Rotation = new HeliosRotation(0, (float)Math.Sin(turned / 2), 0, (float)Math.Cos(turned / 2)),
            VerticalFovDegrees = 60,
        };
    }

    static int Main(string[] arguments)
    {
        Uri address;
        double seconds;
        if (arguments.Length != 2 || !Uri.TryCreate(arguments[0], UriKind.Absolute, out address) ||
            !double.TryParse(arguments[1], NumberStyles.Float, CultureInfo.InvariantCulture, out seconds))
        {
            Console.Error.WriteLine("usage: Walk tcp://HOST:PORT SECONDS");
            return 2;
        }
        bool shared = Environment.GetEnvironmentVariable("HELIOS_NO_SHARED_MEMORY") == null;
        using (HeliosClient client = new HeliosClient(new HeliosOptions { Host = address.Host, Port = address.Port, Name = "unity walk", Credit = 8, SharedMemory = shared }))
            return Play(client, seconds);
    }

    static int Play(HeliosClient client, double seconds)
    {
        List<long> trips = new List<long>(1 << 16);
        HeliosMove[] lamp = { new HeliosMove { Id = 4, Rotation = HeliosRotation.Identity } };
        byte[] quad = new byte[0];
        long tick = 0, begin = HeliosClient.NowMicroseconds, next = begin, end = begin + (long)(seconds * 1e6);
        for (long now = begin; now < end + 1000000; now = HeliosClient.NowMicroseconds)
        {
            HeliosNotice notice;
            while (client.TryTakeNotice(out notice))
            {
                if (notice.Kind == HeliosNoticeKind.Opened) client.SetScene(Level, null, 1);
                else if (notice.Kind != HeliosNoticeKind.Resumed) Console.Error.WriteLine("walk: " + notice.Kind + ": " + notice.Text);
            }
            HeliosFrame frame;
            if (client.TryTake(out frame))
            {
                if (quad.Length != frame.Pixels.Length) quad = new byte[frame.Pixels.Length];
                Buffer.BlockCopy(frame.Pixels, 0, quad, 0, quad.Length); // what a texture's upload would do
                trips.Add(frame.RoundTripMicroseconds);
            }
            if (client.State == HeliosState.Closed || (now >= end && client.Counts.Unanswered <= 0)) break;
            if (now < next || now >= end) { Thread.Sleep(1); continue; }
            next = next + TickMicroseconds > now ? next + TickMicroseconds : now + TickMicroseconds;
            HeliosCamera camera = CameraAt(tick);
            if (client.Send(ref camera, "walk around the pillar") < 0 || tick++ % 15 != 14) continue;
            lamp[0].Position = new HeliosVector(2, (float)(1.5 + 0.5 * Math.Sin(tick / 30.0)), 4);
            client.UpdateScene(null, lamp);
        }
        HeliosCounts counts = client.Counts;
        trips.Sort();
        Console.WriteLine("{{\"client\": \"unity\", \"controls\": {0}, \"generated\": {1}, \"reprojected\": {2}, \"held\": {3}, " +
            "\"refused\": {4}, \"resumes\": {5}, \"in_ring\": {6}, \"shown\": {7}, \"round_trip_us_p50\": {8}, \"round_trip_us_p99\": {9}}}",
            counts.Controls, counts.Generated, counts.Reprojected, counts.Held, counts.Refused, counts.Resumes, counts.InRing, trips.Count,
            trips.Count > 0 ? trips[trips.Count / 2] : 0, trips.Count > 0 ? trips[trips.Count * 99 / 100] : 0);
        return trips.Count > 0 ? 0 : 1;
    }
}
